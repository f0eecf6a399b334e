-- Adds a process's report, once. KEYS[1]: the prefix. ARGV[1]: JSON of the report, worked out as far as it goes without
-- what is there. The rules are those of flaggate.stores.sums.
local prefix, given = KEYS[1], cjson.decode(ARGV[1])
local function key(name) return prefix .. ":" .. name end
local function whole(number) return string.format("%.0f", number) end

local last = tonumber(redis.call("HGET", key("processes"), given.process) or "0")
if given.sequence <= last then return 0 end
local now = tonumber(given.now)
redis.call("HSET", key("processes"), given.process, given.sequence)
redis.call("ZADD", key("seen"), now, given.process)

for _, count in ipairs(given.counts) do
  local window = "window:" .. count.flag .. ":" .. given.window
  redis.call("SADD", key("counted"), count.flag)
  redis.call("ZADD", key("windows:" .. count.flag), given.window, given.window)
  redis.call("ZADD", key("windows"), given.window, count.flag .. ":" .. given.window)
  for _, change in ipairs(count.changes) do
    redis.call("HINCRBY", key("counts:" .. count.flag), change[1], change[2])
    redis.call("HINCRBY", key(window), change[1], change[2])
  end
end

-- Units: no unit is twice in a group, in whichever arm. A set's sums: units, bad requests, the sum of their squares.
local function sums_of(flag, set)
  local kept = redis.call("HGET", key("sets:" .. flag), set)
  if not kept then return 0, 0, 0 end
  local units, bad, squares = string.match(kept, "^(%d+) (%d+) (%d+)$")
  return tonumber(units), tonumber(bad), tonumber(squares)
end
local OTHER = {treatment = "control", control = "treatment"}
for _, group in ipairs(given.groups) do
  redis.call("SADD", key("counted"), group.flag)
  local size, sums, found = 0, {}, {}
  for _, arm in ipairs(given.arms) do
    local units, bad, squares = sums_of(group.flag, group.set .. arm)
    sums[arm] = {units, bad, squares}
    size = size + units
  end
  for _, member in ipairs(group.members) do
    local arm, unit, bad = member[1], member[2], member[3]
    local place = key("units:" .. group.flag .. ":" .. group.set .. arm)
    local known = tonumber(redis.call("HGET", place, unit) or "-1")
    local after = nil
    if known >= 0 then
      if not group.is_there then after = known + bad end
    else
      local other = OTHER[arm]
      local is_in_other = other and (found[other .. unit]
        or redis.call("HEXISTS", key("units:" .. group.flag .. ":" .. group.set .. other), unit) == 1)
      if not is_in_other and size < given.most then
        size, after = size + 1, bad
        found[arm .. unit] = true
      end
    end
    if after then
      local total, before = sums[arm], math.max(known, 0)
      if known < 0 then total[1] = total[1] + 1 end
      total[2] = total[2] + after - before
      total[3] = total[3] + after * after - before * before
      total.changed = true
      redis.call("HSET", place, unit, whole(after))
    end
  end
  for arm, total in pairs(sums) do
    if total.changed then
      local text = whole(total[1]) .. " " .. whole(total[2]) .. " " .. whole(total[3])
      redis.call("HSET", key("sets:" .. group.flag), group.set .. arm, text)
    end
  end
end

local is_first = last == 0
if is_first then
  for _, process in ipairs(redis.call("ZRANGEBYSCORE", key("seen"), "-inf", "(" .. (now - given.forget_seconds))) do
    redis.call("HDEL", key("processes"), process)
    redis.call("ZREM", key("seen"), process)
  end
end
if is_first or given.forgets then
  for _, window in ipairs(redis.call("ZRANGEBYSCORE", key("windows"), "-inf", "(" .. given.oldest_window)) do
    local flag, began = string.match(window, "^(.*):(%d+)$")
    redis.call("DEL", key("window:" .. window))
    redis.call("ZREM", key("windows:" .. flag), began)
    redis.call("ZREM", key("windows"), window)
  end
  local left = given.most
  for _, flag in ipairs(redis.call("SMEMBERS", key("counted"))) do
    local newest, sets = given.newest[flag], redis.call("HGETALL", key("sets:" .. flag))
    for index = 1, #sets, 2 do
      local set = sets[index]
      local attempt, stage, span, began = string.match(set, "^(%d+) (%d+) (%d+) (%d+) ")
      attempt, stage, span, began = tonumber(attempt), tonumber(stage), tonumber(span), tonumber(began)
      local was_left = newest and (attempt < newest[1] or (attempt == newest[1] and stage < newest[2]))
      local is_past = span > 0 and began + span < now - given.units_kept_seconds
      if left > 0 and (was_left or is_past) then
        left = left - tonumber(string.match(sets[index + 1], "^(%d+) "))
        redis.call("DEL", key("units:" .. flag .. ":" .. set))
        redis.call("HDEL", key("sets:" .. flag), set)
      end
    end
  end
end
redis.call("HINCRBY", key("meta"), "pulse", 1)
return 1
