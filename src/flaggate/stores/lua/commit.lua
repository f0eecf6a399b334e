-- Writes all rows and events, or nothing. KEYS[1]: the prefix. ARGV[1]: JSON of what is to be done.
-- Returns {"done", revision}, {"conflict", number of the write, version found}, {"lease"}, or {"void"}: whoever sent this
-- gave it up before it arrived.
local prefix, given = KEYS[1], cjson.decode(ARGV[1])
local function key(name) return prefix .. ":" .. name end

local done = redis.call("GET", key("done:" .. given.token))
if done == "void" then return {"void"} end
if done then return {"done", tonumber(done)} end  -- its answer was lost

local function now()
  if given.now ~= "" then return tonumber(given.now) end
  local time = redis.call("TIME")
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

if given.holder ~= "" then
  local lease = redis.call("HMGET", key("lease"), "holder", "renewed_at", "seconds")
  if lease[1] ~= given.holder or math.abs(now() - tonumber(lease[2])) >= tonumber(lease[3]) then return {"lease"} end
end

-- A commit may write a row twice: each time it expects what the one before left.
local versions, found = {}, {}
for number, write in ipairs(given.writes) do
  local field = write.field
  if versions[field] == nil then
    local kept = redis.call("HGET", key("rows"), field)
    if kept then
      local version, _, document = string.match(kept, "^(%d+):(%d+):(.*)$")
      versions[field], found[field] = tonumber(version), document ~= ""
    else
      versions[field], found[field] = 0, false
    end
  end
  local there = found[field] and versions[field] or 0
  if there ~= write.expected then return {"conflict", number, there} end
  versions[field], found[field] = versions[field] + 1, write.document ~= ""
end

-- A server that was restored, or whose place another took, may have lost what processes had read of it: each run that
-- writes is another name of the store. It leaves revisions out: whoever says an older one has not read this yet.
local told = redis.pcall("INFO", "server")
local run = type(told) == "string" and string.match(told, "run_id:(%w+)")
if not run then return redis.error_reply("NOPERM nobody can tell which run of the server this is: let this user INFO") end
local known = redis.call("HGET", key("meta"), "run") or ""
local gap = 1
if known ~= "" and known ~= run then gap = 1000 end
local revision = redis.call("HINCRBY", key("meta"), "revision", gap)
redis.call("HSET", key("meta"), "run", run)

local again = {}
for _, write in ipairs(given.writes) do
  again[write.field] = (again[write.field] or 0) + 1
end
for _, write in ipairs(given.writes) do
  local field = write.field
  again[field] = again[field] - 1
  local version = string.format("%d", versions[field] - again[field])
  redis.call("HSET", key("rows"), field, version .. ":" .. string.format("%d", revision) .. ":" .. write.document)
  redis.call("ZADD", key("changed"), revision, field)
  if write.anew ~= "" then
    local flag = write.anew
    for _, began in ipairs(redis.call("ZRANGE", key("windows:" .. flag), 0, -1)) do
      redis.call("DEL", key("window:" .. flag .. ":" .. began))
      redis.call("ZREM", key("windows"), flag .. ":" .. began)
    end
    for _, set in ipairs(redis.call("HKEYS", key("sets:" .. flag))) do
      redis.call("DEL", key("units:" .. flag .. ":" .. set))
    end
    redis.call("DEL", key("windows:" .. flag), key("sets:" .. flag), key("counts:" .. flag))
    redis.call("SREM", key("counted"), flag)
    redis.call("HDEL", key("progress"), flag)
  end
end
for _, event in ipairs(given.events) do
  local number = string.format("%d", redis.call("HINCRBY", key("meta"), "events", 1))
  redis.call("XADD", key("events"), number .. "-0", "event", event.text)
  redis.call("ZADD", key("of:" .. event.name), number, number)
end
redis.call("SET", key("done:" .. given.token), string.format("%d", revision), "EX", 600)
redis.pcall("PUBLISH", key("revision"), string.format("%d", revision))  -- who may not is not undone: others poll
return {"done", revision}
