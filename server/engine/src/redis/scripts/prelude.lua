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

-- Adds an event to the stream that all servers follow. Its number is one more than that of the last.
local function add_event(max, ...)
  local number = redis.call('HINCRBY', META, 'events', 1)
  redis.call('XADD', P .. ':events', 'MAXLEN', '~', max, text(number) .. '-0', ...)
end
