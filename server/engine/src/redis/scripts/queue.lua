-- Returns what a key has: the fingerprint and the id of its message.
local function posted(site, hash, cutoff)
  local entry = redis.call('HGET', key('posts', site), hash)
  if entry and tonumber(offset_of(entry)) >= cutoff then
    return string.match(entry, '^%d+ (%d+) (%x+)$')
  end
end

local function remember_post(site, hash, fingerprint, id, cutoff)
  local posts, ages = key('posts', site), key('posts-ages', site)
  redis.call('HSET', posts, hash, text(at) .. ' ' .. fingerprint .. ' ' .. id)
  redis.call('RPUSH', ages, text(at) .. ' ' .. hash)
  for _ = 1, 2 do
    local oldest = redis.call('LINDEX', ages, 0)
    local _, last, time = string.find(oldest, '^(%d+) ')
    if tonumber(time) >= cutoff then
      return
    end
    redis.call('LPOP', ages)
    local old = string.sub(oldest, last + 1)
    if offset_of(redis.call('HGET', posts, old)) == time then
      redis.call('HDEL', posts, old)
    end
  end
end

local steps = {}

-- The numbers of corrections of each node, see `sockets.rs`.
local CORRECTIONS = P .. ':corrections'

-- ARGV: node, clock, known id.
function steps.begin()
  local node, clock = take_node()
  redis.call('HDEL', CORRECTIONS, node)
  return next_id(node, clock)
end

-- Some devices of a node are away. Returns their number.
local function disconnect_some(node)
  local members = redis.call('SPOP', key('connected', node), 200)
  for _, member in ipairs(members) do
    local _, last, length = string.find(member, '^(%d+):')
    local person = string.sub(member, last + 1, last + length)
    local name = string.sub(member, last + length + 1)
    local stored = redis.call('HGET', key('devices', person), name)
    if stored then
      local device = cmsgpack.unpack(stored)
      device.sockets[node] = nil
      leave_if_away(person, name, device)
      settle(person)
    end
  end
  return #members
end

-- The devices that were connected to a former process of a node are away. ARGV: node. Returns
-- whether there may be more.
function steps.away()
  return disconnect_some(take())
end

-- The same for a node that was killed. ARGV: node. If it has begun again, it does this by itself.
function steps.killed()
  local node = take()
  if lease_of(node) then
    return 0
  end
  local count = disconnect_some(node)
  if count == 0 then
    redis.call('HDEL', NODES, node)
  end
  return count
end

-- ARGV: node, clock, known id, site, whether a key is given (then its hash, fingerprint and the
-- cutoff), ttl, cap, kind, event, body, size, persons, the address for the event, the maximum number
-- of events. Returns the fingerprint of a known key or nothing, and the id.
function steps.enqueue()
  local node, clock = take_node()
  local site = take()
  local hash, fingerprint, cutoff
  if take() == '1' then
    hash, fingerprint, cutoff = take(), take(), take_number()
    local known, id = posted(site, hash, cutoff)
    if known then
      return {known, id}
    end
  end
  local seconds, cap, kind, event = take_number(), take_number(), take(), take()
  local body, size = take(), take()
  local id = next_id(node, clock)
  if hash then
    remember_post(site, hash, fingerprint, id, cutoff)
  end
  local persons = take_list()
  -- All persons are counted at once: one of them may lose the message, because of the cap, before
  -- the next one gets it.
  if #persons > 0 then
    redis.call('HSET', key('message', id), 'body', body, 'size', size, 'persons', #persons)
  end
  for _, person in ipairs(persons) do
    local devices, count, is_unsettled = expire(person)
    add(person, id, kind, event, seconds, devices, count)
    if redis.call('ZCARD', key('inbox', person)) > cap then
      drop_furthest_behind(person, node, clock, seconds)
    end
    if is_unsettled then
      settle(person)
    end
    expire_some()
  end
  local address = take()
  add_event(take(), 'message', id, 'to', address, 'body', body)
  return {'', id}
end

-- Returns the devices to drop for a new one, or nothing if too few are away.
local function leaving(devices, count, max)
  local away, names = {}, {}
  for name, device in pairs(devices) do
    if total(device) == 0 then
      away[#away + 1] = {left = device.left, number = device.number, name = name}
    end
  end
  table.sort(away, function(one, other)
    if one.left ~= other.left then
      return one.left < other.left
    end
    return one.number < other.number
  end)
  for n = 1, count + 1 - max do
    if not away[n] then
      return nil
    end
    names[n] = away[n].name
  end
  return names
end

local function make_device(person, name, devices)
  local number = 0
  for _, device in pairs(devices) do
    number = math.max(number, device.number + 1)
  end
  for _, id in ipairs(redis.call('ZRANGE', key('inbox', person), 0, -1)) do
    local item = item_of(person, id)
    if item.acked == '0' then
      item.readers = item.readers + 1
      save_item(person, id, item)
      redis.call('ZADD', queue_key(person, name), 0, id)
    end
  end
  return {number = number, left = 0, sockets = {}}
end

-- Whether a step was given up before Redis has run it: its effect was corrected since.
local function is_late(node, correction)
  return number_in(CORRECTIONS, node, 0) > correction
end

-- Sets the number of sockets of a device at a node.
local function set_sockets(person, name, device, node, sockets)
  device.sockets[node] = sockets > 0 and sockets or nil
  redis.call(sockets > 0 and 'SADD' or 'SREM', key('connected', node), connected_member(person, name))
end

-- Adds a socket of a device. If it is to be restored, the device has this number of sockets at the
-- node.
local function connect(is_restored)
  local person, name, node, seconds, max = take(), take(), take(), take_number(), take_number()
  local correction, sockets = take_number(), take_number()
  if is_late(node, correction) then
    return false
  end
  expire(person)
  local devices, count = devices_of(person)
  local device, gone = devices[name], {}
  if is_restored and (sockets == 0 or device and device.sockets[node] == sockets) then
    settle(person)
    return 0
  end
  if not device then
    gone = leaving(devices, count, max)
    device = gone and make_device(person, name, devices)
  end
  if device then
    redis.call('DEL', key('waiting-ends', person))
    set_sockets(person, name, device, node, is_restored and sockets or (device.sockets[node] or 0) + 1)
    device.ttl, device['end'] = seconds, NEVER
    save_device(person, name, device)
    for _, other in ipairs(gone) do
      drop_device(person, other, devices[other])
    end
  end
  settle(person)
  expire_some()
  return device and (redis.call('HGET', META, 'flake') or '0000000000000000')
end

-- ARGV: person, device, node, ttl, maximum number of devices, the last correction of the node, the
-- sockets to restore. Returns the last id, or nothing if there is no room.
function steps.connect()
  return connect(false)
end

-- ARGV: the same.
function steps.restore()
  return connect(true)
end

-- ARGV: person, device, node, the last correction of the node.
function steps.disconnect()
  local person, name, node, correction = take(), take(), take(), take_number()
  if is_late(node, correction) then
    return 0
  end
  expire(person)
  local device = devices_of(person)[name]
  if device and device.sockets[node] then
    set_sockets(person, name, device, node, device.sockets[node] - 1)
    leave_if_away(person, name, device)
  end
  settle(person)
  expire_some()
  return 0
end

-- Corrects the number of sockets of a device, because the outcome of a step is unknown. ARGV:
-- person, device, node, the number of this correction, the sockets.
function steps.correct()
  local person, name, node, correction, sockets =
    take(), take(), take(), take_number(), take_number()
  if is_late(node, correction) then
    return 0
  end
  redis.call('HSET', CORRECTIONS, node, text(correction))
  expire(person)
  local device = devices_of(person)[name]
  if device and (device.sockets[node] or 0) ~= sockets then
    set_sockets(person, name, device, node, sockets)
    device['end'] = NEVER
    leave_if_away(person, name, device)
  end
  settle(person)
  expire_some()
  return 0
end

-- Returns the deliveries that a resync replaces, if an ack is out of order.
local function lost_by(person, name, id)
  local queue, item = queue_key(person, name), item_of(person, id)
  if not item or item.kind ~= 's' or not redis.call('ZSCORE', queue, id) then
    return nil
  end
  local same = {}
  for _, other in ipairs(redis.call('ZRANGE', queue, 0, -1)) do
    local waiting = item_of(person, other)
    if waiting.kind ~= 'r' and waiting.event == item.event then
      same[#same + 1] = other
    end
  end
  return same[1] ~= id and same or nil
end

-- ARGV: person, device, node, clock, known id, whether it acks one delivery, ids. Returns the id of
-- a resync, or nothing.
function steps.ack()
  local person, name = take(), take()
  local node, clock = take_node()
  local is_one, ids = take() == '1', take_list()
  local _, _, is_unsettled = expire(person)
  local lost, resync = is_one and lost_by(person, name, ids[1]), false
  remove_from_queue(person, name, lost or ids)
  if lost then
    resync = next_id(node, clock)
    add_resync(person, {name}, resync)
  end
  if is_unsettled then
    settle(person)
  end
  expire_some()
  return resync
end

-- ARGV: person, device, the ids that the range begins after and ends with, the maximum number and
-- bytes. Returns ids and bodies; one more than fits, if there are more.
function steps.waiting()
  local person, name, after, upto = take(), take(), take(), take()
  local max, max_bytes = take_number(), take_number()
  local device = devices_of(person)[name]
  local found, bytes = {}, 0
  if not device or device['end'] <= at then
    return found
  end
  local low = '(' .. after
  while true do
    local ids = redis.call('ZRANGEBYLEX', queue_key(person, name), low, '[' .. upto, 'LIMIT', 0, 64)
    for _, id in ipairs(ids) do
      local message = redis.call('HMGET', key('message', id), 'body', 'size')
      bytes = bytes + tonumber(message[2] or 0)
      local fits = #found < max and bytes <= max_bytes
      local is_first = #found == 0
      found[#found + 1] = {id, message[1]}
      if not fits and not is_first then
        return found
      end
      low = '(' .. id
    end
    if #ids < 64 then
      return found
    end
  end
end

return steps[step]()
