-- Reads the records that have changed since an offset, as they are now. ARGV: the resource, the
-- offset, the known version of the cascades, the maximum number of changes. Returns the head and
-- the records; or nothing if there are too many, the log has dropped some, or the cascades have
-- changed.
local resource, since, known, max = take(), take_number(), take(), take_number()
local values = redis.call('HMGET', key('resource', resource), 'head', 'floor', 'cascades')
local head, floor = tonumber(values[1] or 0), tonumber(values[2] or 0)
if since < floor or head - since > max or (values[3] or '0') ~= known then
  return false
end
local seen, records = {}, {}
if head > since then
  for _, entry in ipairs(redis.call('XRANGE', key('log', resource), text(since + 1), '+')) do
    local id = entry[2][2]
    if not seen[id] then
      seen[id] = true
      records[#records + 1] = {id, redis.call('HGET', key('records', resource), id)}
    end
  end
end
return {text(head), records}
