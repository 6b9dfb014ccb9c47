#!lua flags=allow-oom
-- Makes the members that a node has in a topic exactly these: none of a node that has died.
-- KEYS: the topic's members, the topics of the node. ARGV: the channel, the topic, what the connections of the node begin
-- with, and for each connection its name and what is told of it.
local channel, topic, prefix = ARGV[1], ARGV[2], ARGV[3]
local wanted = {}
for index = 4, #ARGV, 2 do
    wanted[ARGV[index]] = ARGV[index + 1]
end
for _, connection in ipairs(redis.call('HKEYS', KEYS[1])) do
    if string.sub(connection, 1, #prefix) == prefix then
        if not wanted[connection] then
            local info = redis.call('HGET', KEYS[1], connection)
            redis.call('HDEL', KEYS[1], connection)
            redis.call('PUBLISH', channel, '-' .. connection .. '\n' .. info)
        else
            wanted[connection] = nil
        end
    end
end
for connection, info in pairs(wanted) do
    redis.call('HSET', KEYS[1], connection, info)
    redis.call('PUBLISH', channel, '+' .. connection .. '\n' .. info)
end
if #ARGV > 3 then
    redis.call('SADD', KEYS[2], topic)
else
    redis.call('SREM', KEYS[2], topic)
end
