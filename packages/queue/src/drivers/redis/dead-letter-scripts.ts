import type { Script } from './script.ts'
import { script } from './structure.ts'

/** ARGV: group. */
export const count: Script = script(`return redis.call('ZCARD', keys_of(ARGV[1]).dead)`, 'no-writes')

/** ARGV: group, how many at most. Reply: numbers, oldest death first. */
export const numbers: Script = script(`return redis.call('ZRANGE', keys_of(ARGV[1]).dead, 0, ARGV[2] - 1)`, 'no-writes')

/** ARGV: group, numbers. Reply: of each that is still there { number, record, death as JSON, time of death, replays, 1 when its key waits for it }. */
export const read: Script = script(
  `
local g = open(ARGV[1])
local letters = {}
for i = 2, #ARGV do
  local message = ARGV[i]
  local died = g and redis.call('ZSCORE', g.dead, message)
  local record = died and redis.call('HGET', g.messages, message)
  if record then
    local key = key_of(g, message)
    local parked = key ~= '' and redis.call('HGET', g.holders, key) == message
    local _, _, _, replays = tries_of(g, message)
    letters[#letters + 1] = { message, record, redis.call('HGET', g.deaths, message), died, replays, parked and 1 or 0 }
  end
end
return letters
`,
  'no-writes',
)

/** The oldest dead letter of an id leaves the dead; ARGV: group, ids. Reply: how many were found. */
const eachOf = (body: string): Script =>
  script(`
local g = open(ARGV[1])
local found = 0
for i = 2, g and #ARGV or 0 do
  local member = redis.call('ZRANGE', g['dead-ids'], '[' .. ARGV[i] .. '\\0', '(' .. ARGV[i] .. '\\1', 'BYLEX', 'LIMIT', 0, 1)[1]
  if member then
    local message = string.sub(member, -16)
    redis.call('ZREM', g['dead-ids'], member)
    redis.call('ZREM', g.dead, message)
    redis.call('HDEL', g.deaths, message)
    found = found + 1
    ${body}
  end
end
return found
`)

/** What parks its key goes first; what does not goes before those of its key that wait. */
export const replay: Script = eachOf(`
    local _, _, _, replays = tries_of(g, message)
    note_tries(g, message, 0, 0, 0, replays + 1)
    local key = key_of(g, message)
    if key and key ~= '' and redis.call('HGET', g.holders, key) == message then offer(g, message)
    elseif key then enter(g, message, key, '0' .. message) end
`)

export const discard: Script = eachOf(`
    pass_on(g, message)
    drop(g, message)
`)

/** ARGV: group, key. Reply: 0 when no dead letter parks the key. */
export const releaseKey: Script = script(`
local g = open(ARGV[1])
local holder = g and redis.call('HGET', g.holders, ARGV[2])
if not holder or not redis.call('ZSCORE', g.dead, holder) then return 0 end
pass_on(g, holder)
return 1
`)
