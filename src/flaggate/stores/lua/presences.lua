-- Who is there. KEYS[1]: the prefix. ARGV: act, now ("" = by this server's clock), and to say something the process's id, its
-- JSON, and for how many seconds that counts. Returns the time, and the lines of all: "until said_at json".
local prefix, act, now = KEYS[1] .. ":presences", ARGV[1], ARGV[2]
if now == "" then
  local time = redis.call("TIME")
  now = time[1] .. "." .. string.format("%06d", tonumber(time[2]))
end
if act == "say" then
  for _, process in ipairs(redis.call("HKEYS", prefix)) do
    local ends = string.match(redis.call("HGET", prefix, process), "^(%S+) ")
    if tonumber(ends) < tonumber(now) then redis.call("HDEL", prefix, process) end
  end
  local ends = string.format("%.6f", tonumber(now) + tonumber(ARGV[5]))
  redis.call("HSET", prefix, ARGV[3], ends .. " " .. now .. " " .. ARGV[4])
  return {now}
end
local found = {now}
for _, line in ipairs(redis.call("HVALS", prefix)) do found[#found + 1] = line end
return found
