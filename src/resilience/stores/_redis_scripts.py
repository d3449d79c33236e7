"""The scripts of a Redis store: each verb is one, so that the server decides it in one step, as `_core/deciding` does elsewhere.

The truth is a hash for each record, with no EXPIRE: when a record has expired is one of its fields, judged by the server's
clock inside the script. Beside the records stand one hash for the store itself (its format, its floor, the name of its
life) and an index, a sorted set whose scores are all 0: Redis keeps it in the order of bytes, which in UTF-8 is that of code
points. All these keys bear the namespace as their hash tag, so a store is one slot of a cluster.

**Only the first write of a script can be refused** (no memory, a replica, a disk that fails): after it the server lets the
script run to its end. So every script reads first, and an error that the server *answers* means that nothing was done. For
the same reason the message to those who wait comes last, and it does not matter whether it may be sent.

Moments and lengths are whole µs. Lua's numbers are doubles, exact up to 2^53, which as µs is the year 2255; its own
conversion to text would round them to 14 digits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from resilience._core.steps import Extend, Load, LoadMany, Remove, Scan, Swap


__all__ = ["CORRUPT", "FORMAT", "LIFE", "OTHER_FORMAT", "SCRIPTS", "Script"]

#: Of the keys and fields below. Another one belongs to another version of this library.
FORMAT: Final = "1"

#: What the scripts answer as errors, beside the server itself.
OTHER_FORMAT: Final = "RESILIENCE FORMAT"
CORRUPT: Final = "RESILIENCE CORRUPT"

#: KEYS: the store, its index, then records. ARGV: the moment in µs, or nothing for the server's own.
_COMMON = """
local now
if ARGV[1] == '' then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
else
  now = tonumber(ARGV[1])
end
local about = redis.call('HMGET', KEYS[1], 'format', 'floor')
if about[1] and about[1] ~= '%(format)s' then
  return redis.error_reply('RESILIENCE FORMAT ' .. about[1])
end
local function whole(number)
  return string.format('%%.0f', number)
end
local function get(key)
  local field = redis.call('HMGET', key, 'revision', 'beats', 'ttl', 'expires', 'write_id')
  local there = {revision = field[1], beats = field[2], ttl = field[3], expires = tonumber(field[4]), write_id = field[5]}
  if not field[1] then
    return nil
  end
  if not (tonumber(field[1]) and tonumber(field[2]) and field[5] and (field[3] == '' or (tonumber(field[3]) and there.expires))) then
    error('RESILIENCE CORRUPT', 0)
  end
  return there
end
local function expired(there)
  return there.ttl ~= '' and there.expires <= now
end
local function head(there)
  local left = there.ttl == '' and '' or whole(there.expires - now)
  return there.revision .. ' ' .. there.beats .. ' ' .. there.ttl .. ' ' .. left .. ' ' .. there.write_id .. '\\n'
end
local function show(key, there)
  if not there then
    return ''
  end
  return head(there) .. (redis.call('HGET', key, 'value') or '')
end
local function refused(key, token)
  local lease = get(key)
  local holds
  if token == 'VACANT' then
    holds = not lease or expired(lease)
  else
    holds = lease and lease.revision == token and not expired(lease)
  end
  return not holds and 'G' .. show(key, lease)
end
local function is_as(there, kind, revision, beats)
  if kind == 'revision' then
    return (there and there.revision or '0') == revision
  elseif kind == 'seen' then
    return there and there.revision == revision and there.beats == beats
  end
  return kind == 'any' or not there or expired(there)
end
"""

_LOAD = """
local page = {}
for at = 3, #KEYS do
  local there = get(KEYS[at])
  page[at - 2] = there and show(KEYS[at], there) or false
end
return page
"""

#: KEYS: the record, and the lease of the guard. ARGV: kind, revision and beats expected, token of the guard, the key.
_JUDGE = """
local key = KEYS[3]
local no = KEYS[4] and refused(KEYS[4], ARGV[5])
if no then
  return no
end
local there = get(key)
"""

#: ARGV, after those: TTL, name of the write, value.
_SWAP = (
    _JUDGE
    + """
if not is_as(there, ARGV[2], ARGV[3], ARGV[4]) then
  return 'C' .. show(key, there)
end
local previous = tonumber(there and there.revision or about[2] or 0)
local revision = whole(math.max(previous + 1, now))
local ttl, expires = ARGV[7], ''
if ttl ~= '' then
  expires = whole(now + ttl)
end
if not there then
  redis.call('ZADD', KEYS[2], 0, ARGV[6])
end
redis.call('HSET', key, 'revision', revision, 'beats', 0, 'ttl', ttl, 'expires', expires, 'write_id', ARGV[8],
  'value', ARGV[9])
if not about[1] then
  redis.call('HSET', KEYS[1], 'format', '%(format)s')
end
redis.pcall('PUBLISH', key, revision)
return 'W' .. revision
"""
)

_REMOVE = (
    _JUDGE
    + """
if not there then
  return 'N'
end
if not is_as(there, ARGV[2], ARGV[3], ARGV[4]) then
  return 'C' .. show(key, there)
end
local floor = math.max(tonumber(about[2] or 0), tonumber(there.revision))
redis.call('ZREM', KEYS[2], ARGV[6])
redis.call('DEL', key)
redis.call('HSET', KEYS[1], 'format', '%(format)s', 'floor', whole(floor))
redis.pcall('PUBLISH', key, 0)
return 'W'
"""
)

#: ARGV: token and TTL of each record. The answer is which ones are lost. All are read before one is written; one that is
#: damaged counts as lost, for it must not cost the others theirs. (Nothing else can fail in `get`: it does what the look at
#: the store has just done.)
_EXTEND = """
local lost, known = {}, {}
for at = 3, #KEYS do
  local fine, there = pcall(get, KEYS[at])
  known[KEYS[at]] = fine and there or nil
end
for at = 3, #KEYS do
  local key, token, ttl = KEYS[at], ARGV[2 * at - 4], ARGV[2 * at - 3]
  local there = known[key]
  if not there or there.revision ~= token or there.ttl == '' or expired(there) then
    lost[#lost + 1] = at - 3
  else
    there.beats, there.ttl, there.expires = there.beats + 1, ttl, math.max(now + ttl, there.expires)
    redis.call('HSET', key, 'beats', whole(there.beats), 'ttl', ttl, 'expires', whole(there.expires))
  end
end
return lost
"""

#: ARGV: from, to, limit, whether those that have expired, what stands before the key of a record.
_SCAN = """
local page, from, limit, wanted = {}, ARGV[2], tonumber(ARGV[4]), ARGV[5] == 'expired'
while true do
  local keys = redis.call('ZRANGEBYLEX', KEYS[2], from, ARGV[3], 'LIMIT', 0, 500)
  for _, key in ipairs(keys) do
    local there = get(ARGV[6] .. key)
    if there and expired(there) == wanted then
      page[#page + 1] = key
      page[#page + 1] = show(ARGV[6] .. key, there)
      if #page == 2 * limit then
        return page
      end
    end
  end
  if #keys < 500 then
    return page
  end
  from = '(' .. keys[#keys]
end
"""

#: ARGV: a name for this life of the store, if it has none.
_LIVING = """
local life = redis.call('HGET', KEYS[1], 'life')
if not life then
  life = ARGV[2]
  redis.call('HSET', KEYS[1], 'format', '%(format)s', 'life', life)
end
return life
"""


class Script:
    """A script, and the name that the server knows it by once it has had it."""

    def __init__(self, body: str) -> None:
        self.text = (_COMMON + body).encode() % {b"format": FORMAT.encode()}
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


_READ: Final = Script(_LOAD)

SCRIPTS: Final[Mapping[type, Script]] = {
    Load: _READ,
    LoadMany: _READ,
    Swap: Script(_SWAP),
    Remove: Script(_REMOVE),
    Extend: Script(_EXTEND),
    Scan: Script(_SCAN),
}
LIFE: Final = Script(_LIVING)
