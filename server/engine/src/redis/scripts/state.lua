-- Reads the states that writes are decided on. ARGV: the number of writes, and of each: the
-- resource, the id or nothing (then the next one is meant), whether to reserve an id, the ledger's hash or nothing, the known
-- versions of indexes and cascades, and the unique values to look up: attribute and value. Returns
-- of each: the head, the next id, the version and the list of the indexes (nothing if known), the
-- same of the cascades, the record, the ledger entry, and the holders of each unique value.
local max_counted = take_number()
local answers = {}
for n = 1, take_number() do
  local resource, id, reserves, hash = take(), take(), take() == '1', take()
  local known_indexes, known_cascades = take(), take()
  local counters, records = key('resource', resource), key('records', resource)
  local values = redis.call('HMGET', counters, 'head', 'next', 'indexes', 'cascades')
  local next = tonumber(values[2] or 1)
  if reserves and next <= max_counted then
    redis.call('HSET', counters, 'next', text(next + 1))
  end
  if id == '' then
    -- The record that gets the next id.
    id = string.format('i%08x%08x', 2 ^ 31 + math.floor(next / 2 ^ 32), next % 2 ^ 32)
  end
  local indexes, cascades = values[3] or '0', values[4] or '0'
  local holders = {}
  for k = 1, take_number() do
    local attribute, value = take(), take()
    local found = {}
    local members = redis.call('ZRANGEBYLEX', index_key(resource, attribute), '[' .. value,
      '(' .. value .. 'u')
    for m, member in ipairs(members) do
      local other = string.sub(member, #value + 1)
      found[m] = {other, redis.call('HGET', records, other)}
    end
    holders[k] = found
  end
  answers[n] = {
    values[1] or '0', text(next),
    indexes, indexes ~= known_indexes and redis.call('HGETALL', key('indexes', resource)),
    cascades, cascades ~= known_cascades and redis.call('HGETALL', key('cascades', resource)),
    redis.call('HGET', records, id),
    hash ~= '' and redis.call('HGET', P .. ':ledger', hash),
    holders,
  }
end
return answers
