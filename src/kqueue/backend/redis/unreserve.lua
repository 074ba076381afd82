-- Puts reserved jobs back at the head of their lists, or at the end of another one, where they are still reserved.
--
-- KEYS  for each queue: list and notify of where its jobs go, reserved between them
-- ARGV  1 LPUSH or RPUSH; then for each job, in the order in which they are pushed: index of its list in KEYS, member of the
--       reserved set, the job as popped
-- Answer: for each job, in the order of ARGV, 1 if it was put back, else 0
local answer = {}
for i = 2, #ARGV, 3 do
    local at = tonumber(ARGV[i])
    -- Nothing is taken out of the set that cannot be put back: of a key of the wrong type LLEN is an error.
    local usable = type(redis.pcall('LLEN', KEYS[at])) == 'number' and type(redis.pcall('LLEN', KEYS[at + 2])) == 'number'
    local held = usable and redis.pcall('ZREM', KEYS[at + 1], ARGV[i + 1])
    if held ~= 1 then
        held = 0
    else
        redis.call(ARGV[1], KEYS[at], ARGV[i + 2])
        redis.call('RPUSH', KEYS[at + 2], 1)
    end
    answer[#answer + 1] = held
end
return answer
