import type { Script } from './script.ts'
import { leaseMs, returnedMember, script } from './structure.ts'

const sweepMs = leaseMs / 4

/**
 * ARGV: group, member, how many at most. Reply: nil when the group is not there; else the deliveries, each { entry, number, deliveries, begun,
 * shown, alone, record }, and the milliseconds until something delayed is due, -1 for nothing.
 *
 * First what is due becomes ready. Then the member gets what was given back, what others held and did not renew (tries that did not end: the
 * message is a suspect, to run alone), and what is new.
 */
export const claim: Script = script(`
local g = open(ARGV[1])
if not g then return nil end
local member, wanted = ARGV[2], tonumber(ARGV[3])

for _, message in ipairs(redis.call('ZRANGE', g.delayed, '-inf', now, 'BYSCORE', 'LIMIT', 0, 200)) do
  redis.call('ZREM', g.delayed, message)
  local key = key_of(g, message)
  if key and key ~= '' and redis.call('HGET', g.holders, key) == message then offer(g, message)
  elseif key then enter(g, message, key, '1' .. number()) end
end

local got = {}
local function lend(entry, message, deliveries)
  local record = redis.call('HGET', g.messages, message)
  if not record then return take_out(g, entry) end
  local begun, shown, alone = tries_of(g, message)
  got[#got + 1] = { entry, message, deliveries, begun, shown, alone, record }
end

local function take_over(pending, is_suspect)
  for _, held in ipairs(pending) do
    local entry = redis.call('XCLAIM', g.ready, 'members', member, 0, held[1])[1]
    if entry then
      local message = entry[2][2]
      local begun, shown, alone, replays = tries_of(g, message)
      if is_suspect and alone == 0 then note_tries(g, message, begun, shown + 1, 1, replays) end
      lend(entry[1], message, held[4] + 1)
    end
  end
end

local given_back = redis.pcall('XPENDING', g.ready, 'members', '-', '+', wanted, '${returnedMember}')
if given_back.err then return nil end
take_over(given_back, false)

hear(g)
if #got < wanted and now >= (tonumber(redis.call('HGET', g.state, 'sweep')) or 0) then
  local overdue = redis.call('XPENDING', g.ready, 'members', 'IDLE', ${leaseMs}, '-', '+', wanted - #got)
  take_over(overdue, true)
  if #got < wanted then redis.call('HSET', g.state, 'sweep', now + ${sweepMs}) end
end

if #got < wanted then
  local fresh = redis.call('XREADGROUP', 'GROUP', 'members', member, 'COUNT', wanted - #got, 'STREAMS', g.ready, '>')
  for _, entry in ipairs(fresh and fresh[1][2] or {}) do lend(entry[1], entry[2][2], 1) end
end

local first = redis.call('ZRANGE', g.delayed, 0, 0, 'WITHSCORES')
if #got < wanted then redis.call('HSET', g.state, 'asleep', 1) end
return { got, first[2] and math.max(0, math.ceil(tonumber(first[2]) - now)) or -1 }
`)

/** ARGV: group, member, then of each delivery entry, number, deliveries. Reply: for each 1, or 0 when it was lost. */
export const acknowledge: Script = script(`
local g = open(ARGV[1])
local done = {}
for i = 3, #ARGV, 3 do
  local entry, message = ARGV[i], ARGV[i + 1]
  local mine = g and is_mine(g, ARGV[2], entry, ARGV[i + 2])
  if mine then
    take_out(g, entry)
    pass_on(g, message)
    drop(g, message)
  end
  done[#done + 1] = mine and 1 or 0
end
return done
`)

/** The scripts below settle one delivery. ARGV: group, member, entry, number, deliveries and what follows. Reply: 1, or 0 when it was lost. */
const settle = (body: string): Script =>
  script(`
local g = open(ARGV[1])
local member, entry, message = ARGV[2], ARGV[3], ARGV[4]
if not g or not is_mine(g, member, entry, ARGV[5]) then return 0 end
local _, _, _, replays = tries_of(g, message)
${body}
return 1
`)

/** And: tries begun, tries shown, delay. The message keeps its key's turn. */
export const postpone: Script = settle(`
take_out(g, entry)
note_tries(g, message, ARGV[6], ARGV[7], 0, replays)
redis.call('ZADD', g.delayed, now + ARGV[8], message)
wake(g)
`)

/** And: id, reason and attempt as JSON. A message with a key keeps its turn: that is what parking is. */
export const bury: Script = settle(`
take_out(g, entry)
redis.call('ZADD', g.dead, now, message)
redis.call('HSET', g.deaths, message, ARGV[7])
redis.call('ZADD', g['dead-ids'], 0, ARGV[6] .. '\\0' .. message)
`)

/** And: tries begun, tries shown, alone. */
export const release: Script = settle(`
note_tries(g, message, ARGV[6], ARGV[7], ARGV[8], replays)
give_back(g, entry)
`)

/** And: tries begun, tries shown, this one included: noted before a suspect runs alone, so that the next one knows if the process ends in it. */
export const noteAlone: Script = settle(`note_tries(g, message, ARGV[6], ARGV[7], 1, replays)`)

/** ARGV: group, member, then of each delivery entry, deliveries. Reply: for each 1, or 0 when it was lost. */
export const renew: Script = script(`
local g = open(ARGV[1])
local kept = {}
if g then hear(g) end
for i = 3, #ARGV, 2 do
  local mine = g and is_mine(g, ARGV[2], ARGV[i], ARGV[i + 1])
  if mine then redis.call('XCLAIM', g.ready, 'members', ARGV[2], 0, ARGV[i], 'JUSTID') end
  kept[#kept + 1] = mine and 1 or 0
end
return kept
`)

/** Gives back what stands in the member's name, but for the entries that it knows of. */
const giveBackUnknown = (finish: string): Script =>
  script(`
local g = open(ARGV[1])
if not g then return 0 end
local known = {}
for i = 3, #ARGV do known[ARGV[i]] = true end
local after = '-'
repeat
  local page = redis.pcall('XPENDING', g.ready, 'members', after, '+', 100, ARGV[2])
  if page.err then return 0 end
  for _, held in ipairs(page) do
    if not known[held[1]] then give_back(g, held[1]) end
    after = '(' .. held[1]
  end
until #page < 100
${finish}
return 1
`)

/** ARGV: group, member, the entries that it knows of: the answer to a claim may have been lost. */
export const handIn: Script = giveBackUnknown('')

/** ARGV: group, member. All goes back, and the member is forgotten. */
export const leave: Script = giveBackUnknown(`redis.call('XGROUP', 'DELCONSUMER', g.ready, 'members', ARGV[2])`)
