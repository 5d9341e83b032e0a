"""Copies of the read models' versions in Redis; queries check cache entries against the copies.

A copy expires at most five seconds after its version was committed to the database or read from it.
A copy is never replaced by an older version. A late writer, or a writer with an old result from the
database, therefore cannot hide a change. If the notification of a change is lost, queries see the
change once the copy expires.
"""

import time

from progress.adapters.redis import channels

TTL_S = 5.0  # If a notification is lost, responses are out of date for at most this time.

# Kinds of versions. Each schema has its own versions, because two revisions may serve at the same
# time.
CATALOGUE = "catalogue"
BATCH = "batch"  # Weekly, domain and level stats.
SWAP = "schema"  # Set by the rebuild that made this schema the live one.

# The expiry is a time, not a duration: if a suspended Redis runs the script late, the copy still
# expires in time. If Redis has no memory for a new copy, the script deletes the old copy, so that
# queries see the change.
_SET_FUNCTION = """
local now = redis.call('TIME')
local left = math.min(tonumber(ARGV[1]) - (now[1] * 1000 + math.floor(now[2] / 1000)), 5000)
local function keep(key, version)
    local held = tonumber(redis.call('GET', key) or '')
    if held and held > tonumber(version) then return end
    local kept = left > 0 and redis.pcall('SET', key, version, 'PX', left)
    if not kept or kept.err then redis.call('DEL', key) end
end
"""

# KEYS: the copies. ARGV: the copies' expiry (Unix time in ms), and the version of each copy.
SET_SCRIPT = f"""{_SET_FUNCTION}
for n, key in ipairs(KEYS) do keep(key, ARGV[n + 1]) end
return left
"""

# ARGV: the expiry of the copies, the version, the learners (JSON), and the prefix of the learners'
# keys.
PUBLISH_SCRIPT = f"""{_SET_FUNCTION}
for _, learner in ipairs(cjson.decode(ARGV[3])) do
    keep(ARGV[4] .. learner, ARGV[2])
    redis.call('PUBLISH', '{channels.LEARNER}' .. learner, ARGV[2])
end
return left
"""


def learner_key(schema: str, user_id: str) -> str:
    """Return the key of a learner's version."""
    return f"version:{schema}:learner:{user_id}"


def shared_key(schema: str, kind: str) -> str:
    """Return the key of a version that all learners share."""
    return f"version:{schema}:{kind}"


def expires_at_ms(known_at: float) -> int:
    """Return the expiry of a copy as Unix time in ms.

    `known_at` is a monotonic time, taken before the copy's version was committed or read.
    """
    return int((time.time() + TTL_S - (time.monotonic() - known_at)) * 1000)
