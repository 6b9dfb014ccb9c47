-- The fields of a hash that belong to nodes which are alive, each followed by its value.
-- KEYS: the nodes with the ends of their leases, the hash. A field is the node, perhaps with / and more after it.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local living = {}
for _, node in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], now, '+inf')) do
    living[node] = true
end
local all, found = redis.call('HGETALL', KEYS[2]), {}
for index = 1, #all, 2 do
    if living[string.match(all[index], '^[^/]+')] then
        found[#found + 1] = all[index]
        found[#found + 1] = all[index + 1]
    end
end
return found
