import { looksBeforeExpiry } from '../../group-expiry.ts'
import type { Script } from './script.ts'
import { broadcastLeaseMs, returnedMember, script } from './structure.ts'

/** A member that has not been seen for so long is gone; each looks for work or renews its leases every few seconds. */
const memberGoneMs = 15_000
/** What died without leaving is kept in the stream's list of consumers for so long. */
const memberForgottenMs = 3_600_000

const consumersOf = `
local function consumers_of(g)
  local consumers = {}
  for _, told in ipairs(redis.pcall('XINFO', 'CONSUMERS', g.ready, 'members')) do
    local consumer = {}
    for i = 1, #told, 2 do consumer[told[i]] = told[i + 1] end
    consumers[#consumers + 1] = consumer
  end
  return consumers
end

local function members_of(g)
  local members = 0
  for _, consumer in ipairs(consumers_of(g)) do
    if consumer.name ~= '${returnedMember}' and consumer.idle < ${memberGoneMs} then members = members + 1 end
  end
  return members
end
`

/** ARGV: group, ordered | plain, 1 for a broadcast, after how long without members it is removed or '', the member. Reply: what the group is; made when it is not there. */
export const declare: Script = script(`${consumersOf}
local group, kind = ARGV[1], ARGV[2]
local existing = redis.call('HGET', base .. ':groups', group)
if existing and existing ~= kind then return existing end
redis.call('HSET', base .. ':groups', group, kind)
if ARGV[4] ~= '' then redis.call('HSET', base .. ':expiries', group, string.format('%d 0 %d', ARGV[4], now))
else redis.call('HDEL', base .. ':expiries', group) end
if ARGV[3] == '1' then redis.call('ZADD', base .. ':leases', now + ${broadcastLeaseMs}, group) end
local made = redis.pcall('XGROUP', 'CREATE', keys_of(group).ready, 'members', '0', 'MKSTREAM')
if made.err and string.sub(made.err, 1, 9) ~= 'BUSYGROUP' then return made end
redis.call('XGROUP', 'CREATECONSUMER', keys_of(group).ready, 'members', ARGV[5])
for _, consumer in ipairs(consumers_of(keys_of(group))) do
  if consumer.pending == 0 and consumer.idle > ${memberForgottenMs} then
    redis.call('XGROUP', 'DELCONSUMER', keys_of(group).ready, 'members', consumer.name)
  end
end
return kind
`)

/** ARGV: broadcast group. Reply: 1, or 0 when it had run out and missed what was published meanwhile. One that is not there is not made. */
export const renewBroadcast: Script = script(`
local ends = redis.call('ZSCORE', base .. ':leases', ARGV[1])
if not ends then return 1 end
redis.call('ZADD', base .. ':leases', now + ${broadcastLeaseMs}, ARGV[1])
return tonumber(ends) > now and 1 or 0
`)

/** ARGV: group. */
export const endBroadcast: Script = script(`forget(ARGV[1])`)

/** ARGV: group, 1 to discard. Reply: nil when there is none, 'deleted', or the numbers of members and messages that speak against it. */
export const deleteGroup: Script = script(`${consumersOf}
local g = open(ARGV[1])
if not g then return nil end
local members = members_of(g)
local messages = redis.call('HLEN', g.messages)
if members > 0 or (messages > 0 and ARGV[2] ~= '1') then return { members, messages } end
forget(ARGV[1])
return 'deleted'
`)

/**
 * Reply: of each group that had no member for long enough and is gone now, its name and the number of its messages; then after how long the first of
 * all groups would be, -1 for none.
 */
export const removeExpired: Script = script(`${consumersOf}
local removed, shortest = {}, -1
local all = redis.call('HGETALL', base .. ':expiries')
for i = 1, #all, 2 do
  local group, g = all[i], open(all[i])
  local after, absent, looked = string.match(all[i + 1], '^(%d+) (%d+) (%d+)$')
  if not g then redis.call('HDEL', base .. ':expiries', group) else
    after = tonumber(after)
    local passed = math.min(math.max(0, now - looked), math.ceil(after / ${looksBeforeExpiry}))
    absent = members_of(g) > 0 and 0 or absent + passed
    if absent >= after then
      removed[#removed + 1] = { group, redis.call('HLEN', g.messages) }
      forget(group)
    else
      redis.call('HSET', base .. ':expiries', group, string.format('%d %d %d', after, absent, now))
      if shortest < 0 or after < shortest then shortest = after end
    end
  end
end
return { removed, shortest }
`)

/**
 * ARGV: for each message mandatory (1 | 0), delay in milliseconds, key, envelope. Reply: for each 1 when it is stored, 0 when nobody subscribed.
 * Broadcast subscriptions that have run out get nothing; those that ran out long ago are swept away.
 */
export const publish: Script = script(
  `
local groups = {}
local all = redis.call('HGETALL', base .. ':groups')
for i = 1, #all, 2 do
  local ends = redis.call('ZSCORE', base .. ':leases', all[i])
  if not ends or tonumber(ends) > now then groups[#groups + 1] = open(all[i])
  elseif tonumber(ends) + ${broadcastLeaseMs} < now then forget(all[i]) end
end
local stored = {}
for i = 1, #ARGV, 4 do
  local delay, key = tonumber(ARGV[i + 1]), ARGV[i + 2]
  stored[#stored + 1] = (#groups > 0 or ARGV[i] ~= '1') and 1 or 0
  local message = #groups > 0 and number()
  for _, g in ipairs(groups) do
    redis.call('HSET', g.messages, message, key .. '\\0' .. ARGV[i + 3])
    if delay > 0 then
      redis.call('ZADD', g.delayed, now + delay, message)
      wake(g)
    else
      enter(g, message, g.ordered and key or '', '1' .. message)
    end
  end
end
return stored
`,
  '',
)

/** ARGV: group. Reply: how many messages wait and no member has. */
export const depth: Script = script(
  `
local g = open(ARGV[1])
if not g then return 0 end
local held = redis.pcall('XPENDING', g.ready, 'members')
local mine = 0
for _, consumer in ipairs(held[4] or {}) do
  if consumer[1] ~= '${returnedMember}' then mine = mine + tonumber(consumer[2]) end
end
return math.max(0, redis.call('HLEN', g.messages) - redis.call('ZCARD', g.dead) - mine)
`,
  'no-writes',
)

/** Reply: the eviction policy, where it may take messages away. Writes nothing, by a command that a server without memory or disk, or a replica, refuses. */
export const canWrite: Script = script(
  `
redis.call('SETRANGE', base .. ':none', 0, '')
local facts = redis.pcall('INFO', 'memory')
if type(facts) ~= 'string' then return nil end
local limit, policy = string.match(facts, 'maxmemory:(%d+)'), string.match(facts, 'maxmemory_policy:([%w-]+)')
return limit ~= '0' and policy and string.sub(policy, 1, 7) == 'allkeys' and policy or nil
`,
  '',
)

/** Reply: 1, when the server can be read. */
export const answers: Script = script('return 1', 'no-writes')
