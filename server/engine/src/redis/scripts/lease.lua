-- Leases by the clock of Redis: of the numbers of nodes, and of a migration, which excludes nodes.
-- The hash `nodes` has `token end` by the number, or by `migration`. ARGV: the step, and what it
-- needs.
local NODES, MIGRATION = P .. ':nodes', 'migration'
local step = take()
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

-- Returns the token that holds a name and for how many milliseconds, or nothing.
local function holder(name)
  local token, until_ = string.match(redis.call('HGET', NODES, name) or '', '^(%x+) (%d+)$')
  if token and tonumber(until_) > now then
    return token, tonumber(until_) - now
  end
end

local function release(token)
  for _, name in ipairs(redis.call('HKEYS', NODES)) do
    if not holder(name) or holder(name) == token then
      redis.call('HDEL', NODES, name)
    end
  end
end

local steps = {}

-- Claims a name, or extends the claim. ARGV: the name, a token, milliseconds. Returns the name that
-- another token holds and for how many milliseconds, or nothing.
function steps.claim()
  local name, token, duration = take(), take(), take_number()
  local names = name == MIGRATION and redis.call('HKEYS', NODES) or {name, MIGRATION}
  for _, other in ipairs(names) do
    local owner, left = holder(other)
    if owner and owner ~= token then
      return {other, left}
    end
  end
  release(token)
  redis.call('HSET', NODES, name, token .. ' ' .. text(now + duration))
  return {}
end

-- Ends all claims of a token. ARGV: the token.
function steps.release()
  release(take())
  return {}
end

return steps[step]()
