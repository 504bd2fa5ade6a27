-- Edits a session. ARGV: the id, the new id, whether to clear it first, the time, when it expires
-- (nothing if never), the maximum number of sessions or nothing, the name of the person's key, the
-- number of values, and names with values: nothing removes one; then the maximum number of events,
-- or nothing if rights cannot change. Returns whether there was room.
local id, new_id, clears, at = take(), take(), take() == '1', take_number()
local until_, max, person = take(), take_optional(), '=' .. take()
local ENDS, ANONYMOUS = P .. ':sessions', P .. ':sessions-anonymous'

local function drop(name)
  redis.call('DEL', key('session', name))
  redis.call('ZREM', ANONYMOUS, name)
  return redis.call('ZREM', ENDS, name) == 1
end

for _, name in ipairs(redis.call('ZRANGEBYSCORE', ENDS, '-inf', text(at), 'LIMIT', 0, 2)) do
  drop(name)
end
local end_ = redis.call('ZSCORE', ENDS, id)
local values = {}
if end_ and at < tonumber(end_) and not clears then
  local list = redis.call('HGETALL', key('session', id))
  for n = 1, #list, 2 do
    values[list[n]] = list[n + 1]
  end
end
for _ = 1, take_number() do
  local name, value = '=' .. take(), take()
  values[name] = value ~= '' and value or nil
end
local max_events = take()
local is_new = not drop(id)
local function announce()
  if max_events ~= '' then
    add_event(max_events, 'session', id)
  end
  return 1
end

if not next(values) then
  return announce()
end
if is_new and max and redis.call('ZCARD', ENDS) >= max then
  local oldest = redis.call('ZRANGE', ANONYMOUS, 0, 0)[1]
  if not oldest then
    return 0
  end
  drop(oldest)
end
drop(new_id)
for name, value in pairs(values) do
  redis.call('HSET', key('session', new_id), name, value)
end
local score = until_ ~= '' and until_ or '+inf'
redis.call('ZADD', ENDS, score, new_id)
if (values[person] or 'null') == 'null' then
  redis.call('ZADD', ANONYMOUS, score, new_id)
end
return announce()
