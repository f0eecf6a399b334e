-- What the store is called, its revision, and the rows written after ARGV[1], in one view.
local prefix, since = KEYS[1], ARGV[1]
local head = redis.call("HMGET", prefix .. ":meta", "salt", "revision", "run")
local fields = redis.call("ZRANGEBYSCORE", prefix .. ":changed", "(" .. since, "+inf")
local rows = {}
for _, field in ipairs(fields) do
  rows[#rows + 1] = field
  rows[#rows + 1] = redis.call("HGET", prefix .. ":rows", field)
end
return {head[1], head[2], head[3], rows}
