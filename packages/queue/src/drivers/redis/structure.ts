import { Script } from './script.ts'

/*
 * What lies in Redis. All keys of a destination share one hash tag, so that one script may touch them all in a Cluster as well.
 *
 * {prefix:destination}:groups    hash: group → ordered | plain
 * {prefix:destination}:leases    sorted set: broadcast subscription → until when it lives
 * {prefix:destination}:expiries  hash: group → after how long without members it is removed, for how long there were none, when that was looked at
 * {prefix:destination}:number    the last number given to a message
 *
 * and for each group, below {prefix:destination}:<group>:
 *
 * messages   hash: number → key, NUL, envelope. A message is here from its publication until it is acknowledged or discarded.
 * tries      hash: number → "begun shown alone replays", where they are not all 0
 * ready      stream with one consumer group: the numbers of what may be delivered, its pending entries are what members hold
 * delayed    sorted set: number → when it is due
 * holders    hash, ordered groups: key → the number that has the key's turn, be it ready, held, delayed or dead
 * waiting    sorted set, ordered groups: key, NUL, place, NUL, number; in the order in which a key's messages get their turn
 * dead       sorted set: number → when it died
 * deaths     hash: number → reason and attempt, as JSON
 * dead-ids   sorted set: id, NUL, number; finds dead letters by their ids
 * state      hash: asleep (a member waits to be told), seen (when a member was last heard) and sweep (when leases are looked at next)
 *
 * Numbers have 16 digits, so that they sort as text. Scripts are given the destination's part of the keys' names and make the rest.
 * Names of destinations and groups are escaped as in URLs: no NUL, colon or brace.
 */

/** A lease runs so long without renewal; in milliseconds. */
export const leaseMs = 10_000
/** A group that nobody was heard of for so long: the server was away, or all members were. */
const silenceMs = leaseMs / 2
/** A broadcast subscription lives so long without renewal: so long a disconnected process still gets what it missed. */
export const broadcastLeaseMs = 60_000
/** Whose entries nobody holds: they were given back, and go to whoever asks next. */
const returned = '(returned)'

export function baseKey(prefix: string, destination: string): string {
  return `{${prefix}:${encodeURIComponent(destination)}}`
}

/** Where members are told that there is work. */
export function wakeChannel(base: string, group: string): string {
  return `${base}:${encodeURIComponent(group)}:wake`
}

const prelude = `
local base = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function keys_of(group)
  local g = { root = base .. ':' .. group .. ':' }
  for _, part in ipairs({ 'messages', 'tries', 'ready', 'delayed', 'holders', 'waiting', 'dead', 'deaths', 'dead-ids', 'state' }) do
    g[part] = g.root .. part
  end
  return g
end

local function open(group)
  local kind = redis.call('HGET', base .. ':groups', group)
  if not kind then return nil end
  local g = keys_of(group)
  g.ordered = kind == 'ordered'
  return g
end

local function forget(group)
  redis.call('HDEL', base .. ':groups', group)
  redis.call('ZREM', base .. ':leases', group)
  redis.call('HDEL', base .. ':expiries', group)
  local g = keys_of(group)
  redis.call('UNLINK', g.messages, g.tries, g.ready, g.delayed, g.holders, g.waiting, g.dead, g.deaths, g['dead-ids'], g.state)
end

local function number()
  return string.format('%016d', redis.call('INCR', base .. ':number'))
end

local function wake(g)
  if redis.call('HDEL', g.state, 'asleep') == 1 then redis.call('PUBLISH', g.root .. 'wake', '') end
end

local function offer(g, message)
  redis.call('XADD', g.ready, '*', 'm', message)
  wake(g)
end

-- The message's key, '' when it has none or the group does not mind, nil when the message is not there.
local function key_of(g, message)
  if not g.ordered then return '' end
  local record = redis.call('HGET', g.messages, message)
  if not record then return nil end
  return string.sub(record, 1, (string.find(record, '\\0', 1, true) or 1) - 1)
end

-- Its turn, if the key has none under way, or a place among those that wait.
local function enter(g, message, key, place)
  if key == '' then return offer(g, message) end
  if redis.call('HSETNX', g.holders, key, message) == 1 then return offer(g, message) end
  redis.call('ZADD', g.waiting, 0, key .. '\\0' .. place .. '\\0' .. message)
end

-- The message is done with its key: the next has its turn.
local function pass_on(g, message)
  local key = key_of(g, message)
  if not key or key == '' or redis.call('HGET', g.holders, key) ~= message then return end
  local first = redis.call('ZRANGE', g.waiting, '[' .. key .. '\\0', '(' .. key .. '\\1', 'BYLEX', 'LIMIT', 0, 1)[1]
  if not first then return redis.call('HDEL', g.holders, key) end
  local following = string.sub(first, -16)
  redis.call('ZREM', g.waiting, first)
  redis.call('HSET', g.holders, key, following)
  offer(g, following)
end

local function tries_of(g, message)
  local begun, shown, alone, replays = string.match(redis.call('HGET', g.tries, message) or '', '^(%d+) (%d+) (%d) (%d+)$')
  return tonumber(begun) or 0, tonumber(shown) or 0, tonumber(alone) or 0, tonumber(replays) or 0
end

local function note_tries(g, message, begun, shown, alone, replays)
  redis.call('HSET', g.tries, message, string.format('%d %d %d %d', begun, shown, alone, replays))
end

local function drop(g, message)
  redis.call('HDEL', g.messages, message)
  redis.call('HDEL', g.tries, message)
end

-- Whether the entry is still the member's, from that very delivery.
local function is_mine(g, member, entry, deliveries)
  local held = redis.call('XPENDING', g.ready, 'members', entry, entry, 1, member)[1]
  return held ~= nil and held[4] == tonumber(deliveries)
end

local function take_out(g, entry)
  redis.call('XACK', g.ready, 'members', entry)
  redis.call('XDEL', g.ready, entry)
end

-- No lease runs out while nobody can renew it: after a silence all get a whole lease more.
local function hear(g)
  local seen = tonumber(redis.call('HGET', g.state, 'seen')) or 0
  if now - seen > ${silenceMs} then redis.call('HSET', g.state, 'sweep', now + ${leaseMs}) end
  redis.call('HSET', g.state, 'seen', now)
end

-- Nobody's, for whoever asks next, and no try of it is counted.
local function give_back(g, entry)
  redis.call('XCLAIM', g.ready, 'members', '${returned}', 0, entry, 'JUSTID')
  wake(g)
end
`

/** What settles and claims goes on when memory is full: it is what makes room. */
export function script(body: string, flags: '' | 'allow-oom' | 'no-writes' = 'allow-oom'): Script {
  return new Script(`#!lua${flags === '' ? '' : ` flags=${flags}`}\n${prelude}${body}`)
}

export { returned as returnedMember }
