-- Stores a message in the stream of its topic and publishes it.
-- KEYS: the topic's facts, its stream, what is known of the server, perhaps the key that the publisher has given the message.
-- ARGV: an epoch if one has to begin, the channel, the node, its run, the number of the message in this run, the message,
--       and of the history: the count, the bytes, the age in milliseconds (0: any).
-- Answers with the epoch and the offset; an offset of 0 is not known any more.
local facts, stream, given = KEYS[1], KEYS[2], KEYS[4]
local producer = 'n:' .. ARGV[3]
local number = tonumber(ARGV[5])
local body = ARGV[6]

local epoch = epoch_of(facts, stream, KEYS[3], ARGV[1])

-- A node sends a message again when it has not heard of the answer.
local last = redis.call('HGET', facts, producer)
if last then
    local run, newest = string.match(last, '^(%S+) (%d+)$')
    if run == ARGV[4] and tonumber(newest) >= number then
        local id = ARGV[3] .. '.' .. ARGV[4] .. '.' .. ARGV[5]
        for _, entry in ipairs(redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1000)) do
            if entry[2][4] == id then
                return {epoch, tonumber(string.match(entry[1], '^%d+'))}
            end
        end
        return {epoch, 0}
    end
end
-- So does a publisher, perhaps to another node.
if given then
    local offset = redis.call('GET', given)
    if offset then
        return {epoch, tonumber(offset)}
    end
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stamp = string.format('%.0f', now)
local stored = redis.call('XLEN', stream)
if stored == 0 then
    redis.call('HSET', facts, 'bytes', 0)
end
local offset = redis.call('HINCRBY', facts, 'offset', 1)
local name = string.format('%.0f', offset)
redis.call('XADD', stream, name .. '-' .. stamp, 'd', body, 'p', ARGV[3] .. '.' .. ARGV[4] .. '.' .. ARGV[5])
local bytes = redis.call('HINCRBY', facts, 'bytes', #body)
redis.call('HSET', facts, producer, ARGV[4] .. ' ' .. ARGV[5])
if given then
    redis.call('SET', given, name, 'PX', 300000)
end

-- The newest message always stays.
stored = stored + 1
local count, most, age = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
while stored > 1 do
    local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    local since = tonumber(string.match(first[1], '%d+$'))
    if stored <= count and bytes <= most and (age == 0 or since + age > now) then
        break
    end
    redis.call('XDEL', stream, first[1])
    bytes = redis.call('HINCRBY', facts, 'bytes', -#first[2][2])
    stored = stored - 1
end
if age > 0 then
    redis.call('PEXPIRE', stream, age)
end
-- A topic is forgotten, and begins a new epoch, a week after its last message.
redis.call('PEXPIRE', facts, math.max(age, 604800000))
if age == 0 then
    redis.call('PEXPIRE', stream, 604800000)
end

redis.call('PUBLISH', ARGV[2], 'h' .. epoch .. ' ' .. name .. ' ' .. stamp .. '\n' .. body)
return {epoch, offset}
