-- Reads all cascades, or finishes one. ARGV: nothing, or a resource, a field and the `until` that
-- the cascade has unless a later destroy has extended it.
if #ARGV == 0 then
  local answers = {}
  for _, member in ipairs(redis.call('ZRANGE', P .. ':cascades', 0, -1)) do
    local space = string.find(member, ' ', 1, true)
    local resource, field = string.sub(member, 1, space - 1), string.sub(member, space + 1)
    answers[#answers + 1] = {resource, field, redis.call('HGET', key('cascades', resource), field)}
  end
  return answers
end
local resource, field, until_ = take(), take(), take()
if offset_of(redis.call('HGET', key('cascades', resource), field)) == until_ then
  redis.call('HDEL', key('cascades', resource), field)
  redis.call('ZREM', P .. ':cascades', resource .. ' ' .. field)
  redis.call('HINCRBY', key('resource', resource), 'cascades', 1)
end
return 0
