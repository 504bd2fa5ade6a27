-- Asks all other servers. ARGV: the maximum number of events, the token of the asker, the number of
-- the question, the text. Returns the tokens of the servers that hold a lease and have to answer.
local max, token, number, question = take(), take(), take(), take()
local others = {}
for _, name in ipairs(redis.call('HKEYS', NODES)) do
  local other = lease_of(name)
  if other and other ~= token and name ~= 'migration' then
    others[#others + 1] = other
  end
end
if #others > 0 then
  add_event(max, 'asked', token .. ' ' .. number, 'text', question)
end
return others
