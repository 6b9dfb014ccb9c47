#!lua flags=allow-oom
-- A connection leaves a topic.
-- KEYS: the topic's members, the topics of the node. ARGV: the channel, the connection, and, if it was the last one of the
-- node there, the topic.
local info = redis.call('HGET', KEYS[1], ARGV[2])
if info then
    redis.call('HDEL', KEYS[1], ARGV[2])
    redis.call('PUBLISH', ARGV[1], '-' .. ARGV[2] .. '\n' .. info)
end
if ARGV[3] then
    redis.call('SREM', KEYS[2], ARGV[3])
end
