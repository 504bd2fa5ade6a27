-- Reads the name of the primary key of each resource. Returns names in pairs.
local answers = {}
for _, entry in ipairs(redis.call('XRANGE', P .. ':resources', '-', '+')) do
  local resource = entry[2][2]
  local name = redis.call('HGET', key('resource', resource), 'key')
  if name then
    answers[#answers + 1] = {resource, name}
  end
end
return answers
