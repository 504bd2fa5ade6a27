-- Reads sessions. ARGV: their ids. Returns of each its values and when it expires.
local answers = {}
for n, id in ipairs(ARGV) do
  answers[n] = {redis.call('HGETALL', key('session', id)), redis.call('ZSCORE', P .. ':sessions', id)}
end
return answers
