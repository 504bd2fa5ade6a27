-- Functions that all scripts have. KEYS[1] is the prefix of all keys; it has the hash tag, so that
-- all keys are in one slot. ARGV is read from left to right.
local P = KEYS[1]
local META = P .. ':meta'
local cursor = 0

local function take()
  cursor = cursor + 1
  return ARGV[cursor]
end

local function take_number()
  return tonumber(take())
end

-- An optional number: an empty text is none.
local function take_optional()
  local text = take()
  return text ~= '' and tonumber(text) or nil
end

local function take_list()
  local list = {}
  for n = 1, take_number() do
    list[n] = take()
  end
  return list
end

-- Lua would write large numbers with an exponent.
local function text(number)
  return string.format('%.0f', number)
end

local function key(kind, name)
  return P .. ':' .. kind .. ':' .. name
end

local function index_key(resource, attribute)
  return P .. ':index:' .. resource .. ':' .. attribute
end

local function offset_of(value)
  return value and string.match(value, '^%d+')
end

local function number_in(hash, field, default)
  return tonumber(redis.call('HGET', hash, field) or default)
end

-- Adds an event to the stream that all servers follow. Its number is one more than that of the
-- last. The oldest events are dropped if there are more than `max`, several at a time, or if they
-- have too many bytes.
local function add_event(max, ...)
  max = tonumber(max)
  local events, max_bytes, at_a_time = P .. ':events', 8 * 2 ^ 20, 50
  local function bytes_of(fields)
    local bytes = 0
    for _, field in ipairs(fields) do
      bytes = bytes + #field
    end
    return bytes
  end
  local last = redis.call('HMGET', META, 'event_bytes', 'events')
  local bytes = math.max(tonumber(last[1] or 0), 0) + bytes_of({...})
  local count = redis.call('XLEN', events) + 1
  local excess = count >= max + at_a_time and count - max or 0
  while count > 1 and (excess > 0 or bytes > max_bytes) do
    local part, ids = excess > 0 and math.min(excess, at_a_time) or 1, {}
    for n, event in ipairs(redis.call('XRANGE', events, '-', '+', 'COUNT', part)) do
      ids[n], bytes = event[1], bytes - bytes_of(event[2])
    end
    redis.call('XDEL', events, unpack(ids))
    count, excess = count - #ids, excess - #ids
  end
  local number = text(tonumber(last[2] or 0) + 1)
  redis.call('XADD', events, number .. '-0', ...)
  redis.call('HSET', META, 'events', number, 'event_bytes', text(math.max(bytes, 0)))
end
