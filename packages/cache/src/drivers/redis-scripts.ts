import { LuaScript } from './redis-connection.ts'

/**
 * Layout in Redis, all below `{<namespace>}:`, which is one slot of a cluster
 *   e:<key>  `<format> <version of the namespace> <fresh until, ms of the server's clock> <tags>\n<body>`; tags: JSON, names and versions in turn, or nothing
 *   l:<key>  lease: the token of the process that may fill the key. Before it `!` when somebody waits for its end, `~` when whoever asks next may take it over
 *   t:<tag>  version of a tag: the position of its latest invalidation; the empty tag stands for the namespace
 *   p        position of the invalidation log: grows with every invalidation of a tag, seeded from the clock so that a loss never repeats one
 *   r        run id of the server that wrote last
 * ARGV[1] is the prefix. What does not hold what it should is removed, and the answer says so. A script reads first and lets its first write be the
 * one that needs memory, so that a full Redis refuses the whole of it; invalidations begin with DEL, which a full Redis takes.
 */
const common = `
local prefix = ARGV[1]
local found = 0
local function get(key)
  local v = redis.pcall('GET', key)
  if type(v) == 'table' then
    redis.call('DEL', key)
    found = found + 1
    return false
  end
  return v
end
local function number(key)
  local v = get(key)
  return v and tonumber(v) and v
end
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end
local function logPosition()
  local p = number(prefix .. 'p')
  if not p then
    p = string.format('%.0f', now())
    redis.call('SET', prefix .. 'p', p)
  end
  return p
end
local function outlive(key, life)
  if redis.call('PTTL', key) < life then redis.call('PEXPIRE', key, life * 2) end
end
`

/** What the client cannot judge alone. KEYS entries. ARGV[2] format, [3] lease ms, [4] life of new versions; then for each key '' or what is wanted when it
 * is not fresh, or not for long: `<early ms> <token> <1 to be told of the end of a lease> <tags known before the load, JSON or nothing>`. Returns for each key entry and lease (1 held,
 * 2 taken, 0 none); at the end the time in ms, faults, and position of the log with the version of the namespace where a lease was given.
 */
export const readScript: LuaScript = new LuaScript(`${common}
local format, namespace, life = ARGV[2], get(prefix .. 't:'), tonumber(ARGV[4])
local at = math.floor(now() / 1000)
local out, position = {}, ''
local function version(tag, p)
  local name = prefix .. 't:' .. tag
  local v = number(name)
  if not v then
    v = p
    redis.call('SET', name, p, 'PX', life * 2)
  end
  return v
end
local function grant(key, token, awaits, tags)
  local name = prefix .. 'l:' .. string.sub(key, #prefix + 3)
  local holder = get(name)
  local awaited = holder and string.sub(holder, 1, 1) == '!'
  if holder and not string.find(holder, '^!?~') then
    if redis.call('PTTL', name) ~= -1 then
      if awaits == '1' and not awaited then redis.pcall('SET', name, '!' .. holder, 'KEEPTTL') end
      return 2
    end
    found = found + 1
  end
  if redis.pcall('SET', name, (awaited and '!' or '') .. token, 'PX', ARGV[3]).err then return 0 end
  local p = logPosition()
  position = p .. ':' .. version('', p)
  if tags ~= '' then
    for _, tag in ipairs(cjson.decode(tags)) do version(tag, p) end
  end
  return 1
end
for i, key in ipairs(KEYS) do
  local entry, fresh, lease = get(key), -1, 0
  if entry then
    local written, version, untilMs, tags = string.match(entry, '^(%S+) (%d+) (%d+) ([^\\n]*)\\n')
    local valid, broken = written == format and version == namespace, not written
    if valid and tags ~= '' then
      local decoded, list = pcall(cjson.decode, tags)
      broken = not decoded or type(list) ~= 'table'
      for j = 1, broken and 0 or #list, 2 do
        if type(list[j]) ~= 'string' then broken = true break end
        if redis.pcall('GET', prefix .. 't:' .. list[j]) ~= list[j + 1] then valid = false break end
      end
    end
    if broken then found = found + 1 end
    if broken or (written == format and not valid) then redis.call('DEL', key) end
    if broken or not valid then entry = false else fresh = untilMs - at end
  end
  local early, token, awaits, tags = string.match(ARGV[4 + i], '^(%d+) (%S+) (%d) (.*)$')
  if early and fresh <= tonumber(early) then lease = grant(key, token, awaits, tags) end
  out[#out + 1] = entry
  out[#out + 1] = lease
end
out[#out + 1] = string.format('%.0f', at)
out[#out + 1] = found
out[#out + 1] = position
return out`)

/** KEYS[1] one of the namespace: in a cluster it says which node is asked. */
export const clockScript: LuaScript = new LuaScript(`
local t = redis.call('TIME')
return string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))`)

const header = `
local function header(names, versions, namespace, freshMs)
  local list = {}
  for i, tag in ipairs(names) do
    list[#list + 1] = tag
    list[#list + 1] = versions[i]
  end
  local freshUntil = string.format('%.0f', math.floor(now() / 1000) + freshMs)
  return ARGV[2] .. ' ' .. namespace .. ' ' .. freshUntil .. ' ' .. (#list > 0 and cjson.encode(list) or '') .. '\\n'
end
local function keepVersions(names, versions, new, namespace, life)
  for i, tag in ipairs(names) do
    local key = prefix .. 't:' .. tag
    if new[i] then redis.call('SET', key, versions[i], 'PX', life * 2) else outlive(key, life) end
  end
  local key = prefix .. 't:'
  if redis.call('EXISTS', key) == 0 then redis.call('SET', key, namespace, 'PX', life * 2) else outlive(key, life) end
end
`

/**
 * KEYS[1] entry. ARGV[2] format, [3] body, [4] tags or '', [5] retain ms, [6] fresh ms, [7] token, [8] position as the read gave it. Returns
 * whether it was stored, and whether somebody waits for the end of the lease. A tag without a version is new, unless the log has moved: then it may have changed and been evicted.
 */
export const fillScript: LuaScript = new LuaScript(`${common}${header}
local lease = prefix .. 'l:' .. string.sub(KEYS[1], #prefix + 3)
local awaited, holder = string.match(get(lease) or '', '^(!?)~?(.*)$')
if holder ~= ARGV[7] then return { 0, 0 } end
awaited = #awaited
local seen, namespace = string.match(ARGV[8], '^(%d+):(%d+)$')
local p = number(prefix .. 'p') or '0'
local names = ARGV[4] == '' and {} or cjson.decode(ARGV[4])
local versions, new, unchanged = {}, {}, get(prefix .. 't:') == namespace
for i, tag in ipairs(names) do
  local v = number(prefix .. 't:' .. tag)
  new[i] = not v
  versions[i] = v or p
  if tonumber(versions[i]) > tonumber(seen) or (not v and p ~= seen) then unchanged = false end
end
if not unchanged then
  redis.call('DEL', lease)
  return { 0, awaited }
end
local set = redis.pcall('SET', KEYS[1], header(names, versions, namespace, ARGV[6]) .. ARGV[3], 'PX', ARGV[5])
redis.call('DEL', lease)
if set.err then return set end
keepVersions(names, versions, new, namespace, tonumber(ARGV[5]))
return { 1, awaited }`)

/** ARGV[at], where there is one, is a channel, and what comes after it are messages. Returns 1 when they have left, 0 where the server refuses them. */
const tell = `
local function tell(at)
  if not ARGV[at] then return 0 end
  for i = at + 1, #ARGV do
    if type(redis.pcall('PUBLISH', ARGV[at], ARGV[i])) == 'table' then return 0 end
  end
  return 1
end
`

/**
 * KEYS[1] entry. ARGV[2] format, [3] body, [4] tags or '', [5] retain ms, [6] fresh ms, from [7] on what to tell. What has no room takes the old entry
 * along all the same, and is told, since messages are numbered: one that stayed away would count as lost.
 */
export const writeScript: LuaScript = new LuaScript(`${common}${header}${tell}
local p = number(prefix .. 'p') or string.format('%.0f', now())
local names = ARGV[4] == '' and {} or cjson.decode(ARGV[4])
local versions, new = {}, {}
for i, tag in ipairs(names) do
  local v = number(prefix .. 't:' .. tag)
  new[i] = not v
  versions[i] = v or p
end
local namespace = number(prefix .. 't:') or p
local set = redis.pcall('SET', KEYS[1], header(names, versions, namespace, ARGV[6]) .. ARGV[3], 'PX', ARGV[5])
redis.call('DEL', prefix .. 'l:' .. string.sub(KEYS[1], #prefix + 3))
if set.err then
  redis.call('DEL', KEYS[1])
  tell(7)
  return set
end
if redis.call('EXISTS', prefix .. 'p') == 0 then redis.call('SET', prefix .. 'p', p) end
keepVersions(names, versions, new, namespace, tonumber(ARGV[5]))
return tell(7)`)

const moveLog = `
local function moveLog()
  local p = string.format('%.0f', math.max((tonumber(number(prefix .. 'p') or 0)) + 1, now()))
  redis.call('SET', prefix .. 'p', p)
  return p
end
local function change(tag, p)
  local key = prefix .. 't:' .. tag
  local life = math.max(redis.call('PTTL', key), 60000)
  redis.call('DEL', key)
  redis.call('SET', key, p, 'PX', life)
end
`

/** KEYS prefixed names of what begins with `e:` and `l:`, or one that is not there. ARGV[2] tags to change, from [3] on what to tell. */
export const invalidateScript: LuaScript = new LuaScript(`${common}${moveLog}${tell}
for i = 1, #KEYS do redis.call('DEL', KEYS[i]) end
local tags = ARGV[2] == '' and {} or cjson.decode(ARGV[2])
if #tags > 0 then
  local p = moveLog()
  for _, tag in ipairs(tags) do change(tag, p) end
end
return tell(3)`)

/**
 * KEYS[1] r. Another run of the server than the one that wrote last may have lost writes: it came back from a snapshot, or was a replica. What it holds
 * may have been invalidated, so the namespace goes. Returns 1 then.
 */
export const guardScript: LuaScript = new LuaScript(`${common}${moveLog}
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%w+)')
if not run or get(KEYS[1]) == run then return 0 end
redis.call('DEL', KEYS[1])
change('', moveLog())
redis.call('SET', KEYS[1], run)
return 1`)

const holding = `
local function holding(key)
  local holder = redis.pcall('GET', key)
  local awaited, yielded, token = string.match(type(holder) == 'string' and holder or '', '^(!?)(~?)(.*)$')
  return token == ARGV[1], awaited, yielded
end
`

/** KEYS leases; ARGV token. Returns for each whether somebody waits for its end. */
export const releaseScript: LuaScript = new LuaScript(`${holding}
local out = {}
for i, key in ipairs(KEYS) do
  local ours, awaited = holding(key)
  if ours then redis.call('DEL', key) end
  out[i] = ours and #awaited or 0
end
return out`)

/** KEYS leases; ARGV token, lease ms, 1 to yield. */
export const renewScript: LuaScript = new LuaScript(`${holding}
for _, key in ipairs(KEYS) do
  local ours, awaited, yielded = holding(key)
  if ours and yielded == '' and ARGV[3] == '1' then redis.call('SET', key, awaited .. '~' .. ARGV[1], 'PX', ARGV[2])
  elseif ours then redis.call('PEXPIRE', key, ARGV[2]) end
end
return 1`)
