#!lua flags=allow-oom
-- Notes that this server speaks from now on, and no longer the one from which it has what it has.
-- KEYS: what is known of the server. ARGV: what it is called, what its time is called if it is another one than before.
if redis.call('HGET', KEYS[1], 'server') ~= ARGV[1] then
    redis.call('HSET', KEYS[1], 'server', ARGV[1], 'reign', ARGV[2])
end
