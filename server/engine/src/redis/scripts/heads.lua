-- Reads where the tail begins: the last entry of the stream of resources, the number of the last
-- event, and the name, head and first offset of each resource. ARGV: the epoch's number.
local epoch = take()
local last = redis.call('XREVRANGE', P .. ':resources', '+', '-', 'COUNT', 1)
local answers = {}
for _, entry in ipairs(redis.call('XRANGE', P .. ':resources', '-', '+')) do
  local resource = entry[2][2]
  local first = redis.call('ZRANGEBYSCORE', key('firsts', resource), epoch, epoch)[1]
  answers[#answers + 1] =
    {resource, redis.call('HGET', key('resource', resource), 'head') or '0', first or ''}
end
return {last[1] and last[1][1] or '0-0', redis.call('HGET', META, 'events') or '0', answers}
