-- Shows jobs that nobody has reserved. Writes nothing.
--
-- KEYS  list of those that wait, or set of those that are delayed
-- ARGV  1 `list` or `set`, 2 place of the first, 3 how many at most, 4 bytes of each that are told,
--       5 bytes after which no more are read
-- Answer: how many there are in all; for each job the beginning of it, its bytes, and its time or nothing
local is_list = ARGV[1] == 'list'
local first, most, cut, budget = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local all = redis.call(is_list and 'LLEN' or 'ZCARD', KEYS[1])
local jobs, read = {}, 0
for at = first, math.min(first + most, all) - 1 do
    local job, due = nil, ''
    if is_list then
        job = redis.call('LINDEX', KEYS[1], at)
    else
        local found = redis.call('ZRANGE', KEYS[1], at, at, 'WITHSCORES')
        job, due = found[1], found[2]
    end
    if not job then break end
    jobs[#jobs + 1] = string.sub(job, 1, cut)
    jobs[#jobs + 1] = tostring(#job)
    jobs[#jobs + 1] = due
    read = read + #job
    if read >= budget then break end
end
return {all, jobs}
