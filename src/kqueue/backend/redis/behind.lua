-- Shows jobs that wait at two places of a list. Writes nothing.
--
-- KEYS  the list
-- ARGV  1 place of the first, 2 how many at most there, 3 and at the end, 4 bytes after which no more are read
-- Answer: how many there are in all, and jobs: from there on, and then the last ones
local first, most, last, budget = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local all = redis.call('LLEN', KEYS[1])
local jobs = {}
local function read(from, to)
    local bytes = 0
    -- In slices: of large jobs there are few.
    for at = from, to - 1, 20 do
        for _, job in ipairs(redis.call('LRANGE', KEYS[1], at, math.min(at + 19, to - 1))) do
            jobs[#jobs + 1] = job
            bytes = bytes + #job
        end
        if bytes >= budget then break end
    end
end
read(first, math.min(first + most, all))
-- None twice.
local seen = first < all and math.min(first + most, all) or 0
read(math.max(seen, all - last), all)
return { all, jobs }
