-- Reads a page of streams. ARGV: the maximum bytes of the page, the number of streams, and for each
-- its name, the id to continue after, and whether its entries are needed. Returns for each stream
-- its name, its new entries, the id of its last entry if the entries are not needed, and whether it
-- has more. A page has one entry at least, if there is one.
local max_bytes, bytes = take_number(), 0

local function bytes_of(entry)
  local sum = 0
  for _, field in ipairs(entry[2]) do
    sum = sum + #field
  end
  return sum
end

-- Adds the entries of a stream after an id. Returns whether it may have more.
local function add(entries, stream, after)
  while bytes < max_bytes do
    local some = redis.call('XRANGE', stream, '(' .. after, '+', 'COUNT', 4)
    for _, entry in ipairs(some) do
      local size = bytes_of(entry)
      if bytes > 0 and bytes + size > max_bytes then
        return true
      end
      bytes, after = bytes + size, entry[1]
      entries[#entries + 1] = entry
    end
    if #some < 4 then
      return false
    end
  end
  return true
end

local page = {}
for n = 1, take_number() do
  local name, after, is_needed = take(), take(), take() == '1'
  local entries, last, has_more = {}, '', false
  if is_needed then
    has_more = add(entries, P .. ':' .. name, after)
  else
    local newest = redis.call('XREVRANGE', P .. ':' .. name, '+', '-', 'COUNT', 1)[1]
    last = newest and newest[1] or ''
  end
  page[n] = {name, entries, last, has_more and 1 or 0}
end
return page
