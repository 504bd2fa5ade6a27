-- Commits writes in their order, and stops at the first whose decision rests on other data than
-- there is now. ARGV: see `Operation::push` in operation.rs. Returns a status and three values of
-- each write: `c` was committed (offset, previous, next id), `u` was remembered only (head, previous), `r` and
-- `t` exceed a limit of records. A last status `x` has the reason why the script stopped.
local epoch, drawn = take(), take()
local window = {count = take_number(), bytes = take_number(), age = take_number()}
local ledger_age, ledger_limit, max_counted = take_number(), take_number(), take_number()
local LEDGER, AGES = P .. ':ledger', P .. ':ledger-ages'
local results, offsets = {}, {}

local function answer(status, a, b, c)
  local n = #results
  results[n + 1], results[n + 2], results[n + 3], results[n + 4] = status, a or '', b or '', c or ''
end

local function take_write()
  local write = {
    resource = take(), id = take(), expected = take(), verb = take(), flags = take(),
    after = take(), names = take(), mark = take(), origin = take(), new_members = take(), at = take_number(),
    indexes = take(), cascades = take(), integer = take_optional(), next = take_optional(),
    primary_key = take(), per_resource = take_optional(), total = take_optional(),
    hash = take(), fingerprint = take(), bytes = take_number(), unique = {}, changes = {},
    references = {},
  }
  for n = 1, take_number() do
    write.unique[n] = {attribute = take(), value = take(), holders = take()}
  end
  for n = 1, take_number() do
    write.changes[n] = {attribute = take(), before = take(), after = take()}
  end
  for n = 1, take_number() do
    write.references[n] =
      {resource = take(), attribute = take(), is_pair = take(), field = take(), forms = take_list()}
  end
  return write
end

local function has(write, flag)
  return string.find(write.flags, flag, 1, true) ~= nil
end

local function is_known(write)
  if write.hash == '' then
    return false
  end
  local entry = redis.call('HGET', LEDGER, write.hash)
  return entry and tonumber(offset_of(entry)) >= write.at - ledger_age
end

-- The other records with a value, each with the offset of its last entry in the log.
local function holders(write, unique)
  local found = {}
  local members = redis.call('ZRANGEBYLEX', index_key(write.resource, unique.attribute),
    '[' .. unique.value, '(' .. unique.value .. 'u')
  for _, member in ipairs(members) do
    local id = string.sub(member, #unique.value + 1)
    if id ~= write.id then
      local value = redis.call('HGET', key('records', write.resource), id)
      found[#found + 1] = #id .. ':' .. id .. (offset_of(value) or '') .. ';'
    end
  end
  return table.concat(found)
end

-- Returns why a write cannot be committed as it was decided, or nothing if it can.
local function conflict(write, counters, value)
  if is_known(write) then
    return 'key'
  end
  local expected = write.expected
  if string.sub(expected, 1, 1) == '@' then
    expected = offsets[tonumber(string.sub(expected, 2))] or 'none'
  end
  if expected ~= '*' and expected ~= (offset_of(value) or '') then
    return 'record'
  end
  if write.indexes ~= counters.indexes then
    return 'indexes'
  end
  if write.cascades ~= counters.cascades then
    return 'cascades'
  end
  if write.next and has(write, 'n') and write.next ~= counters.next then
    return 'next'
  end
  for _, unique in ipairs(write.unique) do
    if holders(write, unique) ~= unique.holders then
      return 'unique'
    end
  end
end

local function remember(write, kind, offset)
  if write.hash == '' then
    return
  end
  redis.call('HSET', LEDGER, write.hash, table.concat({
    text(write.at), write.fingerprint, write.verb, kind, offset, write.resource, write.id}, ' '))
  redis.call('RPUSH', AGES, text(write.at) .. ' ' .. write.bytes .. ' ' .. write.hash)
  local bytes = number_in(META, 'ledger_bytes', 0) + write.bytes
  for _ = 1, 2 do
    local oldest = redis.call('LINDEX', AGES, 0)
    local _, last, at, size = string.find(oldest or '', '^(%d+) (%d+) ')
    if not last or (bytes <= ledger_limit and tonumber(at) >= write.at - ledger_age) then
      break
    end
    redis.call('LPOP', AGES)
    bytes = bytes - tonumber(size)
    local hash = string.sub(oldest, last + 1)
    -- A key that was used again after it expired has a younger entry.
    if offset_of(redis.call('HGET', LEDGER, hash)) == at then
      redis.call('HDEL', LEDGER, hash)
    end
  end
  redis.call('HSET', META, 'ledger_bytes', text(bytes))
end

-- Drops changes outside of the window, at most some of them.
local function trim(write, counters)
  local log, records = key('log', write.resource), key('records', write.resource)
  local cutoff, dropped = write.at - window.age, 0
  while counters.head > counters.floor and dropped < 1000 do
    local is_over = counters.head - counters.floor > window.count or counters.bytes > window.bytes
    if not is_over and counters.oldest >= cutoff then
      break
    end
    local entries = redis.call('XRANGE', log, '-', '+', 'COUNT', 2)
    local entry = entries[1]
    local offset, fields = offset_of(entry[1]), entry[2]
    counters.floor, dropped = tonumber(offset), dropped + 1
    counters.bytes = counters.bytes - tonumber(fields[6])
    counters.oldest = entries[2] and tonumber(entries[2][2][4]) or 0
    redis.call('XDEL', log, entry[1])
    -- A record that does not exist is known as long as the log has its last entry.
    if redis.call('HGET', records, fields[2]) == offset then
      redis.call('HDEL', records, fields[2])
    end
  end
end

local function count(write, counters)
  if write.verb ~= '1' or not write.integer then
    return
  end
  if has(write, 'a') or write.integer == counters.next then
    counters.next = write.integer + 1
  elseif write.integer <= max_counted and write.integer >= counters.next then
    counters.next = write.integer + 1
  end
end

local function begin_cascades(write, offset)
  for _, reference in ipairs(write.references) do
    local index, is_held = index_key(reference.resource, reference.attribute), false
    for _, form in ipairs(reference.forms) do
      is_held = is_held or #redis.call('ZRANGEBYLEX', index, '[' .. form, '(' .. form .. 'u',
        'LIMIT', 0, 1) > 0
    end
    if is_held then
      local holder = key('resource', reference.resource)
      local until_ = redis.call('HGET', holder, 'head') or '0'
      if reference.resource == write.resource then
        until_ = offset
      end
      redis.call('HSET', key('cascades', reference.resource), reference.field,
        table.concat({until_, reference.is_pair, write.origin}, ' '))
      redis.call('ZADD', P .. ':cascades', redis.call('HINCRBY', META, 'cascades', 1),
        reference.resource .. ' ' .. reference.field)
      redis.call('HINCRBY', holder, 'cascades', 1)
    end
  end
end

local function store(write, counters, value)
  local published = has(write, 'p')
  local records = key('records', write.resource)
  local _, last, _, changed = string.find(value or '', '^(%d+) (%d+) ')
  local existed = last ~= nil
  local json = existed and string.sub(value, last + 1) or ''
  local before = has(write, 'b') and json or ''
  counters.head = counters.head + 1
  local offset = text(counters.head)
  local previous = offset_of(value) or text(counters.floor)
  local size = 128 + #before + #write.after + #write.names + #write.new_members
  if published then
    redis.call('HSET', records, write.id, existed and offset .. ' ' .. changed .. ' ' .. json or offset)
  elseif write.verb == '3' then
    redis.call('HSET', records, write.id, offset)
    redis.call('ZREM', key('ids', write.resource), write.id)
  else
    redis.call('HSET', records, write.id, offset .. ' ' .. offset .. ' ' .. write.after)
    if not existed then
      redis.call('ZADD', key('ids', write.resource), 0, write.id)
    end
  end
  if not published then
    local more = (write.verb == '3' and 0 or 1) - (existed and 1 or 0)
    counters.records = counters.records + more
    redis.call('HINCRBY', META, 'records', more)
  end
  for _, change in ipairs(write.changes) do
    local index = index_key(write.resource, change.attribute)
    if change.before ~= '' then
      redis.call('ZREM', index, change.before)
    end
    if change.after ~= '' then
      redis.call('ZADD', index, 0, change.after)
    end
  end
  local entry = {'i', write.id, 't', text(write.at), 's', size, 'p', previous, 'v', write.verb,
    'f', published and '1' or '0', 'm', write.mark, 'o', write.origin, 'n', write.names,
    'b', before, 'a', write.after}
  if write.new_members ~= '' then
    entry[#entry + 1] = 'c'
    entry[#entry + 1] = write.new_members
  end
  redis.call('XADD', key('log', write.resource), offset .. '-0', unpack(entry))
  if counters.head - counters.floor == 1 then
    counters.oldest = write.at
  end
  counters.bytes = counters.bytes + size
  count(write, counters)
  return offset, previous
end

local function counters_of(resource)
  local hash = key('resource', resource)
  local values = redis.call('HMGET', hash, 'head', 'floor', 'next', 'records', 'bytes', 'oldest',
    'indexes', 'cascades', 'epoch')
  return {
    hash = hash, is_new = not values[1], head = tonumber(values[1] or 0),
    floor = tonumber(values[2] or 0), next = tonumber(values[3] or 1),
    records = tonumber(values[4] or 0), bytes = tonumber(values[5] or 0),
    oldest = tonumber(values[6] or 0), indexes = values[7] or '0', cascades = values[8] or '0',
    epoch = values[9],
  }
end

local function save(write, counters, offset)
  redis.call('HSET', counters.hash, 'head', offset, 'floor', text(counters.floor),
    'next', text(counters.next), 'records', text(counters.records), 'bytes', text(counters.bytes),
    'oldest', text(counters.oldest))
  if counters.is_new then
    redis.call('XADD', P .. ':resources', '*', 'name', write.resource)
  end
  -- The first change of a resource in an epoch.
  if counters.epoch ~= epoch then
    redis.call('HSET', counters.hash, 'epoch', epoch)
    redis.call('ZADD', key('firsts', write.resource), epoch, offset)
  end
  if not has(write, 'p') then
    redis.call('HSETNX', counters.hash, 'key', write.primary_key)
  end
end

local function exceeded(write, counters, value)
  local is_stored = value and string.find(value, ' ', 1, true)
  if write.verb ~= '1' or has(write, 'p') or is_stored then
    return nil
  end
  if write.per_resource and counters.records >= write.per_resource then
    return 'r'
  end
  if write.total and number_in(META, 'records', 0) >= write.total then
    return 't'
  end
end

-- If somebody has emptied Redis, the number may be that of another epoch.
local current = redis.call('HMGET', META, 'number', 'epoch')
if current[1] ~= epoch or current[2] ~= drawn then
  answer('x', 'epoch')
  return results
end
for n = 1, take_number() do
  local write = take_write()
  local counters = counters_of(write.resource)
  local value = redis.call('HGET', key('records', write.resource), write.id) or nil
  local reason = conflict(write, counters, value)
  if reason then
    answer('x', reason)
    break
  end
  local limit = exceeded(write, counters, value)
  if limit then
    answer(limit)
  elseif has(write, 'u') then
    remember(write, '2', text(counters.head))
    answer('u', text(counters.head), offset_of(value) or text(counters.floor))
  else
    local offset, previous = store(write, counters, value)
    offsets[n] = offset
    trim(write, counters)
    save(write, counters, offset)
    if write.verb == '3' then
      begin_cascades(write, offset)
    end
    remember(write, has(write, 'p') and '1' or '0', offset)
    answer('c', offset, previous, text(counters.next))
  end
end
return results
