-- Gives a commit up whose answer was lost, unless it was done: from now on it is not. KEYS[1]: the prefix. ARGV[1]: its token.
local name = KEYS[1] .. ":done:" .. ARGV[1]
local done = redis.call("GET", name)
if done and done ~= "void" then return tonumber(done) end
redis.call("SET", name, "void", "EX", 600)
return -1
