"""Copies in Redis of the versions in the database, so that a query can tell what still holds.

A copy lives five seconds from the moment at which its version was known to be the newest, and
never goes back: it is written where it is greater. So whoever writes late, or with an old answer of
the database in hand, hides no change; and a change that nobody told of is seen when its copy ends.
"""

import time

from progress.adapters.redis import channels

LIFE = 5.0  # seconds: how far behind an answer may be where a change was not told

# Kinds of versions; each schema of read models has its own, while two revisions are served.
CATALOGUE = "catalogue"
BATCH = "batch"  # of weekly, domain and level stats
SWAP = "schema"  # that put the schema in its place

# A server that stood still carries a command out late: so it is said when a copy ends, not how
# long it lives. One that is full takes no copy: without the old one the change is seen as well.
_KEEPING = """
local now = redis.call('TIME')
local left = math.min(tonumber(ARGV[1]) - (now[1] * 1000 + math.floor(now[2] / 1000)), 5000)
local function keep(key, version)
    local held = tonumber(redis.call('GET', key) or '')
    if held and held > tonumber(version) then return end
    local kept = left > 0 and redis.pcall('SET', key, version, 'PX', left)
    if not kept or kept.err then redis.call('DEL', key) end
end
"""

# KEYS: copies. ARGV: when they end, in ms of the wall clock; the version of each.
KEEP = f"""{_KEEPING}
for n, key in ipairs(KEYS) do keep(key, ARGV[n + 1]) end
return left
"""

# ARGV: when the copies end; the version; the learners, as JSON; what stands before each in its key.
TELL = f"""{_KEEPING}
for _, learner in ipairs(cjson.decode(ARGV[3])) do
    keep(ARGV[4] .. learner, ARGV[2])
    redis.call('PUBLISH', '{channels.LEARNER}' .. learner, ARGV[2])
end
return left
"""


def of_learner(schema: str, user_id: str) -> str:
    """The key of a learner's version in a schema of read models."""
    return f"version:{schema}:learner:{user_id}"


def of_all(schema: str, kind: str) -> str:
    """The key of a version that all learners share."""
    return f"version:{schema}:{kind}"


def end(known_at: float) -> int:
    """When a copy of a version ends that was the newest at `known_at`, on the monotonic clock."""
    return int((time.time() + LIFE - (time.monotonic() - known_at)) * 1000)
