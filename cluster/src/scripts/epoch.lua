-- Begins the scripts that need the epoch of a topic.
--
-- Another server, after a failover or a restart, may lack messages that were delivered. So it begins a new epoch, of which it is
-- noted where it begins: whoever has no message beyond that of the epoch before has lost nothing.
-- The chain of a topic is that: the epochs, each with its first offset, the newest one last.
local function epoch_of(facts, stream, server, new)
    local known = redis.call('HMGET', facts, 'epoch', 'reign', 'offset', 'chain')
    local epoch, reign = known[1], redis.call('HGET', server, 'reign') or ''
    if not epoch then
        redis.call('DEL', stream)
        redis.call('HSET', facts, 'epoch', new, 'reign', reign, 'chain', new .. ' 1')
        return new, new .. ' 1'
    end
    local chain = known[4] or (epoch .. ' 1')
    if (known[2] or '') ~= reign then
        epoch, chain = new, chain .. ' ' .. new .. ' ' .. string.format('%.0f', (known[3] or 0) + 1)
        -- Of epochs that are long over nobody has anything.
        if select(2, string.gsub(chain, '%S+', '')) > 32 then
            chain = string.match(chain, '^%S+ %S+ (.*)$')
        end
        redis.call('HSET', facts, 'epoch', epoch, 'reign', reign, 'chain', chain)
    end
    return epoch, chain
end
