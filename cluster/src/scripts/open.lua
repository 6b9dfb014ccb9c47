-- Asks where a topic is. KEYS: its facts, its stream, what is known of the server. ARGV: the epoch that begins if one has to;
-- and the epoch that is over, if Redis has lost messages of it.
-- Answers with the epoch, the offset of the newest message, and the chain.
local epoch, chain = epoch_of(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
local offset = redis.call('HGET', KEYS[1], 'offset') or '0'
if epoch == ARGV[2] then
    -- Nobody knows from where on they are lost.
    epoch = ARGV[1]
    chain = epoch .. ' ' .. string.format('%.0f', offset + 1)
    redis.call('HSET', KEYS[1], 'epoch', epoch, 'chain', chain)
end
if redis.call('TTL', KEYS[1]) == -1 then
    redis.call('PEXPIRE', KEYS[1], 604800000)
end
return {epoch, tonumber(offset), chain}
