import { LuaScript } from './redis-connection.ts'

/**
 * Layout in Redis, all below `<namespace>:`
 *   e:<key>  hash: f format, b body, t tags (JSON array), v their versions (JSON array), s milliseconds of stale retention
 *   l:<key>  lease: the token of the process that may fill the key
 *   t:<tag>  version of a tag: the position of its latest invalidation; the empty tag stands for the namespace
 *   p        position of the invalidation log: grows with every invalidation of a tag, seeded from the clock so that a loss never repeats one
 * Common arguments: ARGV[1] format, ARGV[2] prefix of tags, ARGV[3] least life of a tag's version in ms.
 */
const common = `
local function position(key)
  local p = redis.call('GET', key)
  if not p then
    local t = redis.call('TIME')
    p = string.format('%.0f', t[1] * 1000000 + t[2])
    redis.call('SET', key, p)
  end
  return p
end
local function version(tag, p)
  local key = ARGV[2] .. tag
  local v = redis.call('GET', key)
  local new = not v
  if new then
    redis.call('SET', key, p, 'PX', ARGV[3])
    v = p
  elseif redis.call('PTTL', key) < tonumber(ARGV[3]) / 2 then
    redis.call('PEXPIRE', key, ARGV[3])
  end
  return v, new
end
local function store(key, body, tags, versions, retain, stale)
  redis.call('DEL', key)
  redis.call('HSET', key, 'f', ARGV[1], 'b', body, 't', tags, 'v', cjson.encode(versions), 's', stale)
  redis.call('PEXPIRE', key, retain)
end
`

/** KEYS entry, lease, position; ARGV[4] token or '', [5] lease ms, [6] tags known before the load. Returns body, fresh ms, retain ms, tags, lease (1 held, 2 taken, 0 none), position. */
export const readScript: LuaScript = new LuaScript(`${common}
local e = redis.call('HMGET', KEYS[1], 'f', 'b', 't', 'v', 's')
local body, fresh, retain, tags = false, -1, -1, '[]'
if e[1] == ARGV[1] then
  local names, versions = cjson.decode(e[3]), cjson.decode(e[4])
  local valid = true
  for i, tag in ipairs(names) do
    if redis.call('GET', ARGV[2] .. tag) ~= versions[i] then
      valid = false
      break
    end
  end
  if valid then
    body, tags = e[2], e[3]
    retain = redis.call('PTTL', KEYS[1])
    fresh = retain - tonumber(e[5])
  else
    redis.call('DEL', KEYS[1])
  end
end
local lease, p = 0, ''
if ARGV[4] ~= '' and (not body or fresh <= 0) then
  if redis.call('SET', KEYS[2], ARGV[4], 'NX', 'PX', ARGV[5]) then
    lease = 1
    p = position(KEYS[3])
    for _, tag in ipairs(cjson.decode(ARGV[6])) do version(tag, p) end
  else
    lease = 2
  end
end
return { body, fresh, retain, tags, lease, p }`)

/**
 * KEYS entry, lease, position; ARGV[4] token, [5] body, [6] tags, [7] retain ms, [8] stale ms, [9] position at the read. Returns 1 if stored.
 * A tag without a version is new, unless the log has moved: then it may have changed and been evicted.
 */
export const fillScript: LuaScript = new LuaScript(`${common}
if redis.call('GET', KEYS[2]) ~= ARGV[4] then return 0 end
redis.call('DEL', KEYS[2])
local p = position(KEYS[3])
local versions, unchanged = {}, true
for i, tag in ipairs(cjson.decode(ARGV[6])) do
  local v, new = version(tag, p)
  if new then
    if p ~= ARGV[9] then unchanged = false end
  elseif tonumber(v) > tonumber(ARGV[9]) then
    unchanged = false
  end
  versions[i] = v
end
if not unchanged then return 0 end
store(KEYS[1], ARGV[5], ARGV[6], versions, ARGV[7], ARGV[8])
return 1`)

/** KEYS entry, lease, position; ARGV[4] body, [5] tags, [6] retain ms, [7] stale ms. */
export const writeScript: LuaScript = new LuaScript(`${common}
redis.call('DEL', KEYS[2])
local p = position(KEYS[3])
local versions = {}
for i, tag in ipairs(cjson.decode(ARGV[5])) do versions[i] = version(tag, p) end
store(KEYS[1], ARGV[4], ARGV[5], versions, ARGV[6], ARGV[7])
return 1`)

/** KEYS position, then entries and leases to remove; ARGV[4] tags to change. */
export const invalidateScript: LuaScript = new LuaScript(`${common}
for i = 2, #KEYS do redis.call('DEL', KEYS[i]) end
local tags = cjson.decode(ARGV[4])
if #tags > 0 then
  local t = redis.call('TIME')
  local p = math.max(tonumber(position(KEYS[1])) + 1, t[1] * 1000000 + t[2])
  p = string.format('%.0f', p)
  redis.call('SET', KEYS[1], p)
  for _, tag in ipairs(tags) do redis.call('SET', ARGV[2] .. tag, p, 'PX', ARGV[3]) end
end
return 1`)

/** KEYS lease; ARGV token. */
export const releaseScript: LuaScript = new LuaScript(
  `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`,
)

/** KEYS lease; ARGV token, lease ms. */
export const renewScript: LuaScript = new LuaScript(
  `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0`,
)
