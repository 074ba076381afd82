-- Moves jobs to the head of their list, where the next reserve finds them.
--
-- KEYS  the list
-- ARGV  the jobs, the last one first
-- Answer: how many were still there
local moved = 0
for i = 1, #ARGV do
    -- Of the same bytes any is as good as any.
    if redis.call('LREM', KEYS[1], -1, ARGV[i]) == 1 then
        redis.call('LPUSH', KEYS[1], ARGV[i])
        moved = moved + 1
    end
end
return moved
