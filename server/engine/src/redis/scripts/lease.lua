-- Leases by the clock of Redis: of the numbers of nodes, and of a migration, which excludes nodes.
-- The hash `nodes` has `token end` by the number, or by `migration`. ARGV: the step, and what it
-- needs.
local MIGRATION = 'migration'
local step = take()

local function release(token)
  for _, name in ipairs(redis.call('HKEYS', NODES)) do
    if lease_of(name) == token then
      redis.call('HDEL', NODES, name)
    end
  end
end

local steps = {}

-- Returns the numbers whose leases have ended, and whose devices are still to be disconnected.
local function ended()
  local names = {}
  for _, name in ipairs(redis.call('HKEYS', NODES)) do
    if name ~= MIGRATION and not lease_of(name) then
      names[#names + 1] = name
    end
  end
  return names
end

-- Claims a name, or extends the claim. ARGV: the name, a token, milliseconds. Returns `held` and
-- the name that another token holds; or `begun` or `renewed`, and the numbers of nodes that were
-- killed.
function steps.claim()
  local name, token, duration = take(), take(), take_number()
  local names = name == MIGRATION and redis.call('HKEYS', NODES) or {name, MIGRATION}
  for _, other in ipairs(names) do
    local owner = lease_of(other)
    if owner and owner ~= token then
      return {'held', other}
    end
  end
  local outcome = lease_of(name) == token and 'renewed' or 'begun'
  release(token)
  redis.call('HSET', NODES, name, token .. ' ' .. text(now() + duration))
  return {outcome, ended()}
end

-- Ends all claims of a token. ARGV: the token.
function steps.release()
  local token = take()
  for _, name in ipairs(redis.call('HKEYS', NODES)) do
    if lease_of(name) == token then
      -- Other nodes disconnect its devices if it has not done so.
      redis.call('HSET', NODES, name, token .. ' 0')
    end
  end
  return {}
end

return steps[step]()
