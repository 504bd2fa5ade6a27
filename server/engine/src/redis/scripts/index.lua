-- Steps of making an index. ARGV: the step, the resource and the attribute.
local step, resource, attribute = take(), take(), take()
local indexes, counters = key('indexes', resource), key('resource', resource)

if step == 'begin' then
  -- From now on, all writes keep the index up to date. Returns whether it is complete.
  local state = redis.call('HGET', indexes, attribute)
  if not state then
    redis.call('HSET', indexes, attribute, 'building')
    redis.call('HINCRBY', counters, 'indexes', 1)
  end
  return state == 'ready' and 1 or 0
elseif step == 'add' then
  -- Adds records, unless they have changed since they were read: then their writer has added them.
  local records = key('records', resource)
  for _ = 1, take_number() do
    local id, changed, member = take(), take(), take()
    if string.match(redis.call('HGET', records, id) or '', '^%d+ (%d+) ') == changed then
      redis.call('ZADD', index_key(resource, attribute), 0, member)
    end
  end
elseif step == 'finish' then
  if redis.call('HGET', indexes, attribute) == 'building' then
    redis.call('HSET', indexes, attribute, 'ready')
    redis.call('HINCRBY', counters, 'indexes', 1)
  end
end
return 0
