-- Asks where a topic is. KEYS: its facts. ARGV: an epoch if it has none; or the epoch that is over, if Redis has lost messages
-- of it, and the one that begins.
-- Answers with the epoch and the offset of the newest message.
if #ARGV == 2 then
    if redis.call('HGET', KEYS[1], 'epoch') == ARGV[1] then
        redis.call('HSET', KEYS[1], 'epoch', ARGV[2])
    end
else
    redis.call('HSETNX', KEYS[1], 'epoch', ARGV[1])
end
return {redis.call('HGET', KEYS[1], 'epoch'), tonumber(redis.call('HGET', KEYS[1], 'offset') or 0)}
