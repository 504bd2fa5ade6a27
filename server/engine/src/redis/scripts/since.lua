-- Reads the changes after an offset. ARGV: the resource, the id of a record or nothing, the offset,
-- the maximum bytes, and epochs to look up, which may be unknown. Returns the head, the floor, the
-- epochs' ends (see `epoch_end`), whether there are too many bytes, and the entries.
local resource, id, since, max_bytes = take(), take(), take_number(), take_number()

-- The first offset of the next epoch that changed the resource: 0 if the epoch is not known, and
-- nothing if there is no later one.
local function epoch_end(epoch)
  local number = redis.call('ZSCORE', P .. ':epochs', epoch)
  if not number then
    return '0'
  end
  local later =
    redis.call('ZRANGEBYSCORE', key('firsts', resource), '(' .. number, '+inf', 'LIMIT', 0, 1)
  return later[1] or ''
end

local values = redis.call('HMGET', key('resource', resource), 'head', 'floor')
local head, floor = tonumber(values[1] or 0), tonumber(values[2] or 0)
local ends, entries, bytes = {}, {}, 0
for n = 1, take_number() do
  ends[n] = epoch_end(take())
end
local log = key('log', resource)
if max_bytes > 0 and since >= floor and since < head then
  local offset = tonumber(offset_of(redis.call('HGET', key('records', resource), id)) or 0)
  local next = since
  while bytes <= max_bytes do
    local from, to, limit = text(next + 1), '+', 16
    if id ~= '' then
      -- The changes of a record are a chain, which is followed from its end.
      if offset <= since then
        break
      end
      from, to, limit = text(offset), text(offset), 1
    end
    local some = redis.call('XRANGE', log, from, to, 'COUNT', limit)
    for _, entry in ipairs(some) do
      bytes = bytes + tonumber(entry[2][6])
      entries[#entries + 1] = entry
      next = tonumber(offset_of(entry[1]))
      offset = tonumber(entry[2][8])
    end
    if #some < limit or next >= head then
      if id == '' or #some == 0 then
        break
      end
    end
  end
end
local is_too_much = bytes > max_bytes and max_bytes > 0
return {text(head), text(floor), ends, is_too_much and 1 or 0, is_too_much and {} or entries}
