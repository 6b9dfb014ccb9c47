#!lua flags=allow-oom
-- A node says that it is alive. KEYS: the nodes with the ends of their leases, their numbers of connections.
-- ARGV: the node, its lease in milliseconds, its number of connections.
-- Answers with 1 if the node was not known, and with the nodes whose leases are over.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local new = redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return {new, redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))}
