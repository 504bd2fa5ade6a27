-- The deliveries and the devices of a person in a migration. ARGV: the step, the time, the person,
-- and what the step needs.
local person = take()
local steps = {}

local function end_text(score)
  if not score then
    return ''
  end
  return tonumber(score) >= NEVER and 'inf' or text(tonumber(score))
end

-- Returns the deliveries and the devices.
function steps.read()
  local items, devices = {}, {}
  for n, id in ipairs(redis.call('ZRANGE', key('inbox', person), 0, -1)) do
    local item = item_of(person, id)
    local score = redis.call('ZSCORE', key('waiting-ends', person), id)
    items[n] = {id, item.acked, item.kind, item.event, end_text(score)}
  end
  for name, device in pairs((devices_of(person))) do
    devices[#devices + 1] = {
      name, text(device.number), text(device.ttl),
      text(total(device) > 0 and at or device.left),
      redis.call('ZRANGE', queue_key(person, name), 0, -1),
    }
  end
  return {items, devices}
end

-- ARGV: the number of deliveries, and of each: id, acked, kind, event, end or nothing; the number of
-- devices, and of each: name, ttl, when it left, and the ids in its queue.
function steps.add()
  local items, readers = {}, {}
  for n = 1, take_number() do
    items[n] = {id = take(), acked = take(), kind = take(), event = take(), until_ = take()}
  end
  for number = 1, take_number() do
    local name, ttl, left = take(), take_number(), take_number()
    for _, id in ipairs(take_list()) do
      readers[id] = (readers[id] or 0) + 1
      redis.call('ZADD', queue_key(person, name), 0, id)
    end
    save_device(person, name, {
      number = number - 1, ttl = ttl, left = left, sockets = {},
      ['end'] = ttl == 0 and NEVER or left + ttl * 1000,
    })
  end
  for _, item in ipairs(items) do
    item.readers = readers[item.id] or 0
    add_item(person, item.id, item)
    if item.kind ~= 'r' then
      redis.call('HINCRBY', key('message', item.id), 'persons', 1)
    end
    if item.until_ ~= '' then
      local score = item.until_ == 'inf' and text(NEVER) or item.until_
      redis.call('ZADD', key('waiting-ends', person), score, item.id)
    end
  end
  settle(person)
  return 0
end

return steps[step]()
