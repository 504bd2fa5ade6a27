-- Reads where the tail begins: the last entry of the stream of resources, the number of the last
-- event, and of each resource the name, the head, and the first offset that is not of the epoch
-- that the caller has followed. ARGV: this epoch, its number, and the number of the current epoch.
local epoch, number, current = take(), take_number(), take_number()
local from = number
if redis.call('ZSCORE', P .. ':epochs', epoch) then
  from = '(' .. text(number)
elseif number > current then
  -- Somebody has emptied Redis.
  from = '-inf'
end
local last = redis.call('XREVRANGE', P .. ':resources', '+', '-', 'COUNT', 1)
local answers = {}
for _, entry in ipairs(redis.call('XRANGE', P .. ':resources', '-', '+')) do
  local resource = entry[2][2]
  local first =
    redis.call('ZRANGEBYSCORE', key('firsts', resource), from, '+inf', 'LIMIT', 0, 1)[1]
  answers[#answers + 1] =
    {resource, redis.call('HGET', key('resource', resource), 'head') or '0', first or ''}
end
return {last[1] and last[1][1] or '0-0', redis.call('HGET', META, 'events') or '0', answers}
