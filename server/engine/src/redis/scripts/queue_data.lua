-- A step of the queues of deliveries. ARGV: the step, the time, and what the step needs. The rules
-- are those of `queues/memory.rs`.
--
-- A person is the length of the site's name, the site and the person's room. Ids of deliveries are
-- 16 hexadecimal digits, whose order is theirs.
local step, at = take(), take_number()
local NEVER = 2 ^ 63
local PERSON_ENDS = P .. ':person-ends'

local function ttl_end(seconds)
  return seconds == 0 and NEVER or at + seconds * 1000
end

local function queue_key(person, device)
  return P .. ':queue:' .. #person .. ':' .. person .. device
end

-- Ids. See `flake.rs`: 42 bits of milliseconds, 10 of the node, 12 of a sequence.

local function flake(millisecond, node, sequence)
  return string.format('%08x%08x', math.floor(millisecond / 2 ^ 10),
    millisecond % 2 ^ 10 * 2 ^ 22 + node * 2 ^ 12 + sequence)
end

-- How far the first id of an epoch is ahead, in milliseconds: Redis may have lost ids, and the
-- clock of the node that gave them may have been ahead of others. Devices that have received them
-- ignore smaller ones.
local AHEAD = 3600000

-- Invariant: the ids of deliveries never decrease. This is the largest id that the calling node
-- knows. Redis may have lost it.
local known_id = ''

-- Takes the number of the calling node, its clock in milliseconds, and the largest id that it knows.
local function take_node()
  local node, clock = take_number(), take_number()
  known_id = take()
  return node, clock
end

-- Returns the next id of a node, whose clock is at this millisecond.
local function next_id(node, clock)
  local stored = redis.call('HMGET', META, 'flake', 'flake_epoch', 'number')
  local last, of_epoch, epoch = stored[1] or '0000000000000000', stored[2], stored[3]
  if known_id > last then
    last = known_id
  end
  local high, low = tonumber(string.sub(last, 1, 8), 16), tonumber(string.sub(last, 9), 16)
  local millisecond = high * 2 ^ 10 + math.floor(low / 2 ^ 22)
  local last_node, sequence = math.floor(low / 2 ^ 12) % 2 ^ 10, low % 2 ^ 12
  local id
  if of_epoch and of_epoch ~= epoch then
    id = flake(math.max(clock, millisecond) + AHEAD, node, 0)
  elseif last_node ~= node then
    id = flake(math.max(clock, millisecond + 1), node, 0)
  elseif clock > millisecond then
    id = flake(clock, node, 0)
  elseif sequence < 2 ^ 12 - 1 then
    id = flake(millisecond, node, sequence + 1)
  else
    id = flake(millisecond + 1, node, 0)
  end
  redis.call('HSET', META, 'flake', id, 'flake_epoch', epoch or '')
  return id
end

-- Devices: number, ttl, left, end, and the number of sockets at each node.

local function devices_of(person)
  local devices, count = {}, 0
  local list = redis.call('HGETALL', key('devices', person))
  for n = 1, #list, 2 do
    devices[list[n]], count = cmsgpack.unpack(list[n + 1]), count + 1
  end
  return devices, count
end

local function save_device(person, name, device)
  redis.call('HSET', key('devices', person), name, cmsgpack.pack(device))
end

local function connected_member(person, name)
  return #person .. ':' .. person .. name
end

-- Deliveries: whether a device has acked it, the number of devices that wait for it, its kind and
-- event. The kind is `m`, `s` for a message that asks for a resync, or `r` for a resync.

local function item_of(person, id)
  local item = redis.call('HGET', key('items', person), id)
  if not item then
    return nil
  end
  local acked, readers, kind, event = string.match(item, '^(%d):(%d+):(%a):(.*)$')
  return {acked = acked, readers = tonumber(readers), kind = kind, event = event}
end

local function save_item(person, id, item)
  redis.call('HSET', key('items', person), id,
    item.acked .. ':' .. item.readers .. ':' .. item.kind .. ':' .. item.event)
end

-- The message of a delivery counts its persons already.
local function add_item(person, id, item)
  redis.call('ZADD', key('inbox', person), 0, id)
  save_item(person, id, item)
end

local function release_message(id)
  if redis.call('HINCRBY', key('message', id), 'persons', -1) <= 0 then
    redis.call('DEL', key('message', id))
  end
end

local function remove_item(person, id, item)
  redis.call('ZREM', key('inbox', person), id)
  redis.call('HDEL', key('items', person), id)
  if item and item.kind ~= 'r' then
    release_message(id)
  end
end

local function clear_inbox(person)
  for _, id in ipairs(redis.call('ZRANGE', key('inbox', person), 0, -1)) do
    remove_item(person, id, item_of(person, id))
  end
  redis.call('DEL', key('waiting-ends', person))
end

local function remove_reader(person, id, acks)
  local item = item_of(person, id)
  if not item then
    return
  end
  item.readers = item.readers - 1
  if item.readers == 0 then
    remove_item(person, id, item)
  else
    item.acked = acks and '1' or item.acked
    save_item(person, id, item)
  end
end

-- Removes deliveries from the queue of a device that has acked them.
local function remove_from_queue(person, name, ids)
  for _, id in ipairs(ids) do
    if redis.call('ZREM', queue_key(person, name), id) == 1 then
      remove_reader(person, id, true)
    end
  end
end

local function drop_device(person, name, device)
  for _, id in ipairs(redis.call('ZRANGE', queue_key(person, name), 0, -1)) do
    remove_reader(person, id, false)
  end
  redis.call('DEL', queue_key(person, name))
  redis.call('HDEL', key('devices', person), name)
  for node in pairs(device.sockets) do
    redis.call('SREM', key('connected', node), connected_member(person, name))
  end
end

-- Drops expired devices, and with the last of them all deliveries; and expired deliveries. Returns
-- the devices and their number, and whether the person has to be settled.
local function expire(person)
  local devices, count = devices_of(person)
  local known = count
  for name, device in pairs(devices) do
    if device['end'] <= at then
      drop_device(person, name, device)
      devices[name], count = nil, count - 1
    end
  end
  if count > 0 then
    -- Deliveries expire only while there are no devices.
    return devices, count, count < known
  end
  if known > 0 then
    clear_inbox(person)
  end
  local ends = key('waiting-ends', person)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', text(at))) do
    remove_item(person, id, item_of(person, id))
    redis.call('ZREM', ends, id)
  end
  return devices, count, true
end

-- Stores when something of a person expires next: a device that is away, or a delivery without
-- devices.
local function settle(person)
  local devices, count = devices_of(person)
  local next_end = NEVER
  for _, device in pairs(devices) do
    next_end = math.min(next_end, device['end'])
  end
  if count == 0 then
    local first = redis.call('ZRANGE', key('waiting-ends', person), 0, 0, 'WITHSCORES')
    next_end = tonumber(first[2] or NEVER)
  end
  if next_end < NEVER then
    redis.call('ZADD', PERSON_ENDS, text(next_end), person)
  else
    redis.call('ZREM', PERSON_ENDS, person)
  end
end

-- Drops expired data of a few other persons.
local function expire_some()
  for _ = 1, 2 do
    local other = redis.call('ZRANGEBYSCORE', PERSON_ENDS, '-inf', text(at), 'LIMIT', 0, 1)[1]
    if not other then
      return
    end
    expire(other)
    settle(other)
  end
end

local function total(device)
  local sockets = 0
  for _, count in pairs(device.sockets) do
    sockets = sockets + count
  end
  return sockets
end

local function leave_if_away(person, name, device)
  if total(device) == 0 then
    device.left, device['end'] = at, ttl_end(device.ttl)
  end
  save_device(person, name, device)
end

-- Adds a delivery for all devices. If there is none, it waits for the first one.
local function add(person, id, kind, event, seconds, devices, count)
  add_item(person, id, {acked = '0', readers = count, kind = kind, event = event})
  if count == 0 then
    redis.call('ZADD', key('waiting-ends', person), text(ttl_end(seconds)), id)
  end
  for name in pairs(devices) do
    redis.call('ZADD', queue_key(person, name), 0, id)
  end
end

local function add_resync(person, names, id)
  local _, count = devices_of(person)
  add_item(person, id,
    {acked = #names < count and '1' or '0', readers = #names, kind = 'r', event = ''})
  for _, name in ipairs(names) do
    redis.call('ZADD', queue_key(person, name), 0, id)
  end
end

-- Replaces the queues of the devices that have not acked the oldest delivery by a resync.
local function drop_furthest_behind(person, node, clock, seconds)
  local oldest = redis.call('ZRANGE', key('inbox', person), 0, 0)[1]
  local id = next_id(node, clock)
  local devices, count = devices_of(person)
  if count == 0 then
    clear_inbox(person)
    add(person, id, 'r', '', seconds, devices, count)
    return
  end
  local behind = {}
  for name in pairs(devices) do
    if redis.call('ZSCORE', queue_key(person, name), oldest) then
      behind[#behind + 1] = name
    end
  end
  for _, name in ipairs(behind) do
    remove_from_queue(person, name, redis.call('ZRANGE', queue_key(person, name), 0, -1))
  end
  add_resync(person, behind, id)
end

