#!lua flags=allow-oom
-- A connection joins a topic.
-- KEYS: the topic's members, the topics of the node. ARGV: the channel, the connection, what is told of it, the topic.
redis.call('SADD', KEYS[2], ARGV[4])
if redis.call('HSET', KEYS[1], ARGV[2], ARGV[3]) == 1 then
    redis.call('PUBLISH', ARGV[1], '+' .. ARGV[2] .. '\n' .. ARGV[3])
end
