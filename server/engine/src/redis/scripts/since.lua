-- Reads a page of the changes after an offset. ARGV: the resource, the id of a record or nothing,
-- the offset, where the page begins (nothing for the first one), the maximum bytes of the page (0
-- for no changes), and epochs to look up, which may be unknown. Returns the head, the floor, the
-- epochs' ends (see `epoch_end`), where the next page begins (nothing if this is the last one), and
-- the entries. A page has one entry at least, if there is one.
--
-- The pages of all records go forward. The changes of one record are a chain, which is followed
-- from its end, so its pages go back.
local resource, id, since, from, max_bytes =
  take(), take(), take_number(), take_optional(), take_number()

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
local ends, entries, bytes, next = {}, {}, 0, ''
for n = 1, take_number() do
  ends[n] = epoch_end(take())
end

-- Adds an entry if the page has room for it. Otherwise the next page begins with it.
local function add(entry)
  local size = tonumber(entry[2][6])
  if #entries > 0 and bytes + size > max_bytes then
    next = offset_of(entry[1])
    return false
  end
  bytes = bytes + size
  entries[#entries + 1] = entry
  return true
end

local function read_all(first)
  while first <= head do
    local some = redis.call('XRANGE', key('log', resource), text(first), '+', 'COUNT', 16)
    for _, entry in ipairs(some) do
      if not add(entry) then
        return
      end
      first = tonumber(offset_of(entry[1])) + 1
    end
    if #some == 0 then
      return
    end
  end
end

local function read_chain(offset)
  while offset > since do
    local at = text(offset)
    local entry = redis.call('XRANGE', key('log', resource), at, at)[1]
    if not entry or not add(entry) then
      return
    end
    offset = tonumber(entry[2][8])
  end
end

if max_bytes > 0 and since >= floor and since < head then
  if id == '' then
    read_all(from or since + 1)
  else
    local last = offset_of(redis.call('HGET', key('records', resource), id))
    read_chain(from or tonumber(last or 0))
  end
end
return {text(head), text(floor), ends, next, entries}
