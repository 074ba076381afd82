-- Makes due what is due on one queue, then takes jobs off its head and holds them as reserved.
--
-- KEYS  1 list  2 delayed  3 reserved  4 notify  5 broken
-- ARGV  1 now  2 end of the lease (epoch seconds)  3 jobs wanted
--       4 due jobs to move at most (-1: all)  5 '1': that limit is a chunk, say so if it was reached
--       6 '1': reservations expire  7 '1': strict  8 notify tokens that the caller took already
--       9 bytes after which no more is taken  10 messages set aside at most  11 bytes of the largest job
-- Answer: { 0 done | 1 call again for the rest | 2 full, { job, reserved, … }, { bytes, why, … } }
local ready, delayed, reserved, notify, broken = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now, lease_end, wanted = ARGV[1], ARGV[2], tonumber(ARGV[3])
local most_due, chunked = tonumber(ARGV[4]), ARGV[5] == '1'
local expire, strict, taken = ARGV[6] == '1', ARGV[7] == '1', tonumber(ARGV[8])
local budget, most_aside, largest = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])

-- A script does not roll back: a key of the wrong type must raise before anything is moved.
for i, length in ipairs({ 'LLEN', 'ZCARD', 'ZCARD', 'LLEN', 'LLEN' }) do
    redis.call(length, KEYS[i])
end

-- The number that PHP takes a value for; nil if it is none.
local function numeric(value)
    if type(value) ~= 'string' then
        return type(value) == 'number' and value or nil
    end
    local text = value:match('^%s*[+]?(.-)%s*$')
    local mantissa = text:gsub('[eE][+-]?%d+$', '')
    if mantissa:match('^-?%d+%.?%d*$') or mantissa:match('^-?%.%d+$') then
        return tonumber(text)
    end
end

-- Why PHP would die of a message before Laravel can fail it; nil if it would not.
local function fatal(message)
    local timeout, attempts = message['timeout'], message['attempts']
    local seconds = numeric(timeout)
    -- pcntl_alarm(max(timeout, 0)) takes whole numbers. A string that is no number is compared as a string.
    if (seconds and seconds >= 2 ^ 63) or type(timeout) == 'table'
        or (not seconds and type(timeout) == 'string' and timeout >= '0') then
        return 'its `timeout` is not a valid number'
    end
    if type(attempts) == 'table' or (type(attempts) == 'string' and not numeric(attempts)) then
        return 'its `attempts` is not a number'
    end
end

-- True when there may be more to move.
local function move_due(from)
    local due = redis.call('ZRANGEBYSCORE', from, '-inf', now, 'LIMIT', 0, most_due)
    local count = #due
    if count == 0 then
        return false
    end
    redis.call('ZREMRANGEBYRANK', from, 0, count - 1)
    -- In slices, since Lua's stack bounds what unpack can take.
    for first = 1, count, 100 do
        local last = math.min(first + 99, count)
        local tokens = {}
        for i = 1, last - first + 1 do
            tokens[i] = 1
        end
        redis.call('RPUSH', ready, unpack(due, first, last))
        redis.call('RPUSH', notify, unpack(tokens))
    end
    return count == most_due
end

-- The bytes to hold as reserved, or nil and why there are none.
local function count_attempt(job)
    if #job > largest then
        return nil, 'it is larger than ' .. largest .. ' bytes'
    end
    local decoded, message = pcall(cjson.decode, job)
    if not decoded then
        return nil, 'it is not JSON: ' .. tostring(message)
    end
    if type(message) ~= 'table' then
        return nil, 'it is not a JSON object'
    end
    local attempts = message['attempts']
    if strict then
        -- Arithmetic takes numeric strings too, and raises on anything else, as it does for Laravel.
        local counted, next_attempt = pcall(function() return attempts + 1 end)
        if not counted then
            return nil, 'its `attempts` is missing or not a number'
        end
        attempts = next_attempt
    else
        if type(message['job']) ~= 'string' then
            return nil, 'it is not a JSON object with a string `job`'
        end
        local why = fatal(message)
        if why then
            return nil, why
        end
        attempts = (numeric(attempts) or 0) + 1
    end
    message['attempts'] = attempts
    local encoded, stored = pcall(cjson.encode, message)
    if not encoded then
        return nil, 'it cannot be encoded as JSON: ' .. tostring(stored)
    end
    return stored
end

local state = 0
-- Delayed jobs all come before expired ones, so a chunk of the former leaves the latter for the next call.
local more = move_due(delayed) and chunked
if expire and not more then
    more = move_due(reserved) and chunked
end

local jobs, aside, bytes, tokens = {}, {}, 0, 0
while #jobs < 2 * wanted do
    if bytes >= budget or #aside >= 2 * most_aside then
        state = 2
        break
    end
    -- Looked at before it is taken: scripts do not roll back.
    local job = redis.call('LINDEX', ready, 0)
    if not job then
        break
    end
    local stored, why = count_attempt(job)
    if stored then
        redis.call('ZADD', reserved, lease_end, stored)
        jobs[#jobs + 1] = job
        jobs[#jobs + 1] = stored
        bytes = bytes + #job
        tokens = tokens + 1
    else
        if not strict or #job > largest then
            redis.call('RPUSH', broken, job)
            tokens = tokens + 1
        end
        aside[#aside + 1] = tostring(#job)
        aside[#aside + 1] = why
    end
    redis.call('LPOP', ready)
end

if tokens > taken then
    redis.call('LTRIM', notify, tokens - taken, -1)
end
if more and state == 0 then
    state = 1
end
return { state, jobs, aside }
