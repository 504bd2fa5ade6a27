-- Reads a part of the records of a resource, in the order of the members of a sorted set. ARGV: the
-- resource, the known version of the cascades, the maximum number and bytes of records, whether to
-- begin at the ends, and ranges: an attribute (or nothing for the ids), and both ends.
-- Returns the head, the version and the list of the cascades (nothing if known), the number of the
-- range and the member at which the next part begins (nothing if this is the last), and the
-- records.
local resource, known, max, max_bytes = take(), take(), take_number(), take_number()
local is_reverse = take() == '1'
local values = redis.call('HMGET', key('resource', resource), 'head', 'cascades')
local records, cascades = {}, values[2] or '0'
local bytes, more_range, more_member = 0, '', ''

local function id_of(member, attribute)
  if attribute == '' then
    return member
  end
  -- The id is after the value. A text ends with 0 and 1, and has no other 0 before a 1.
  local rank = string.byte(member)
  local last = rank == 51 and 17 or 1
  if rank == 52 then
    last = select(2, string.find(member, '%z\1', 2))
  end
  return string.sub(member, last + 1)
end

-- Returns how many records to read at a time: few, if those before were large.
local function room()
  local left = max - #records
  if #records == 0 then
    return math.min(left, 8)
  end
  local average = bytes / #records + 1
  return math.max(1, math.min(left, 64, math.floor((max_bytes - bytes) / average / 4)))
end

local ranges = take_number()
for n = 1, ranges do
  local attribute, low, high = take(), take(), take()
  local set = attribute == '' and key('ids', resource) or index_key(resource, attribute)
  if more_range == '' then
    local command, from, to = 'ZRANGEBYLEX', low, high
    if is_reverse then
      command, from, to = 'ZREVRANGEBYLEX', high, low
    end
    local members = redis.call(command, set, from, to, 'LIMIT', 0, max - #records + 1)
    local next_member = 1
    while next_member <= #members do
      if #records >= max or bytes >= max_bytes then
        more_range, more_member = n, members[next_member]
        break
      end
      local ids, last = {}, math.min(next_member + room() - 1, #members)
      for position = next_member, last do
        ids[#ids + 1] = id_of(members[position], attribute)
      end
      for position, value in ipairs(redis.call('HMGET', key('records', resource), unpack(ids))) do
        if #records >= max or bytes >= max_bytes then
          break
        end
        if value then
          bytes = bytes + #value
          records[#records + 1] = {ids[position], value}
        end
        next_member = next_member + 1
      end
    end
  end
end
return {
  values[1] or '0', cascades,
  cascades ~= known and redis.call('HGETALL', key('cascades', resource)),
  more_range, more_member, records,
}
