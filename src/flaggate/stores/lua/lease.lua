-- The lease, and what only its holder may keep. KEYS[1]: the prefix. ARGV: act, now ("" = by this server's clock), holder,
-- who, seconds, JSON of what is to be kept. Returns {1 = done or held, holder, who, renewed_at, seconds}.
local prefix, act, holder = KEYS[1], ARGV[1], ARGV[3]
local now = ARGV[2]
if now == "" then
  local time = redis.call("TIME")
  now = time[1] .. "." .. string.format("%06d", tonumber(time[2]))
end
local lease = redis.call("HMGET", prefix .. ":lease", "holder", "who", "renewed_at", "seconds")
local is_held = lease[1] and math.abs(tonumber(now) - tonumber(lease[3])) < tonumber(lease[4])

if act == "look" then
  if not is_held then return {0} end
  return {1, lease[1], lease[2], lease[3], lease[4]}
elseif act == "take" then
  if is_held and lease[1] ~= holder then return {0} end
  redis.call("HSET", prefix .. ":lease", "holder", holder, "who", ARGV[4], "renewed_at", now, "seconds", ARGV[5])
  return {1}
elseif act == "release" then
  if lease[1] == holder then redis.call("DEL", prefix .. ":lease") end
  return {1}
end
if not is_held or lease[1] ~= holder then return {0} end
for name, text in pairs(cjson.decode(ARGV[6])) do
  if text == "" then
    redis.call("HDEL", prefix .. ":progress", name)
  else
    redis.call("HSET", prefix .. ":progress", name, text)
  end
end
return {1}
