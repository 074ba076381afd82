-- Puts reserved jobs back at the head of their lists, where they are still reserved.
--
-- KEYS  for each queue: list, reserved, notify
-- ARGV  for each job, last one first: index of its list in KEYS, member of the reserved set, the job as popped
-- Answer: for each job, in the order of ARGV, 1 if it was put back, else 0
local answer = {}
for i = 1, #ARGV, 3 do
    local at = tonumber(ARGV[i])
    local held = redis.call('ZREM', KEYS[at + 1], ARGV[i + 1])
    if held == 1 then
        redis.call('LPUSH', KEYS[at], ARGV[i + 2])
        redis.call('RPUSH', KEYS[at + 2], 1)
    end
    answer[#answer + 1] = held
end
return answer
