-- Reads what the answer to a repeated write needs. ARGV: the resource, the id, the offset of the
-- change or nothing if it was not logged, the known version of the cascades. Returns the entry in
-- the log, and the same as `record.lua`.
local resource, id, offset, known = take(), take(), take(), take()
local values = redis.call('HMGET', key('resource', resource), 'head', 'cascades')
local cascades = values[2] or '0'
local entries = {}
if offset ~= '' then
  entries = redis.call('XRANGE', key('log', resource), offset, offset)
end
return {
  entries[1] or false, values[1] or '0', cascades,
  cascades ~= known and redis.call('HGETALL', key('cascades', resource)),
  redis.call('HGET', key('records', resource), id),
}
