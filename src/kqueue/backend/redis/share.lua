-- What hosts share under one key, and the server's time; or puts something else there, if it is as it was seen.
--
-- KEYS  the key
-- ARGV  nothing; or what was seen (empty: nothing), what is to be there, milliseconds for which it is kept
-- Answer: what is there and the time in milliseconds; or 1 if it was put there, else 0
local there = redis.call('GET', KEYS[1]) or ''
if #ARGV == 0 then
    local time = redis.call('TIME')
    return {there, string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000))}
end
if there ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
