"""Copies in Redis of the database's versions; a query reads them to check its cache entries.

A copy expires five seconds after its version was known to be the newest, and only ever grows. So a
late writer, or one with an old answer of the database, hides no change. A change whose notification
was lost is seen once the copy expires.
"""

import time

from progress.adapters.redis import channels

TTL_S = 5.0  # seconds that an answer may be behind if a notification was lost

# Kinds of versions. Each schema of read models has its own: two revisions may be served at once.
CATALOGUE = "catalogue"
BATCH = "batch"  # weekly, domain and level stats
SWAP = "schema"  # of the rebuild that swapped the schema in

# A server that was suspended runs a command late: so the expiry is a moment, not a duration. A full
# server stores no copy: the old one is deleted, which shows the change as well.
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

# KEYS: the copies. ARGV: their expiry in ms of the wall clock; the version of each.
SET_SCRIPT = f"""{_SET_FUNCTION}
for n, key in ipairs(KEYS) do keep(key, ARGV[n + 1]) end
return left
"""

# ARGV: the expiry of the copies; the version; the learners, as JSON; the prefix of their keys.
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
    """Return the expiry of a version's copy; `known_at` is on the monotonic clock."""
    return int((time.time() + TTL_S - (time.monotonic() - known_at)) * 1000)
