-- Reads one record. ARGV: the resource, the id or nothing, the known version of the cascades.
-- Returns the head, the version and the list of the cascades (nothing if known), and the record.
local resource, id, known = take(), take(), take()
local values = redis.call('HMGET', key('resource', resource), 'head', 'cascades')
local cascades = values[2] or '0'
return {
  values[1] or '0', cascades,
  cascades ~= known and redis.call('HGETALL', key('cascades', resource)),
  id ~= '' and redis.call('HGET', key('records', resource), id),
}
