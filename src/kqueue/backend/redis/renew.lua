-- Gives reservations a new end, where they are still there. ZADD alone cannot tell: XX CH says 0 both for
-- a member that is gone and for one whose score stays the same.
--
-- KEYS  the reserved sets
-- ARGV  1 end of the lease (epoch seconds), or '' to leave it; then for each job: index of its key, member
-- Answer: for each job 1 if it is still reserved, else 0
local lease_end = ARGV[1]
local answer = {}
for i = 2, #ARGV, 2 do
    local key, member = KEYS[tonumber(ARGV[i])], ARGV[i + 1]
    -- A key of the wrong type holds no reservation.
    local held = redis.pcall('ZSCORE', key, member)
    held = type(held) == 'string' and held
    if held and lease_end ~= '' then
        redis.call('ZADD', key, 'XX', lease_end, member)
    end
    answer[#answer + 1] = held and 1 or 0
end
return answer
