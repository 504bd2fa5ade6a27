-- Begins a new epoch if Redis is in another run than at the last call. ARGV: the schema of the
-- caller, the run id and the replication id of the master, a random epoch and a random secret to
-- use if new ones are needed, the maximum number of stored epochs, the number of ids that a new
-- epoch skips, and the largest id that moves the counter. Returns the schema of the data, the epoch
-- and its number.
local schema, run, drawn, secret, max_epochs = take(), take(), take(), take(), take_number()
local skipped, max_counted = take_number(), take_number()

-- Invariant: an id of a lost record is not given again. The run before may have given ids to records
-- that Redis has lost, and clients may still have links to them.
local function skip_ids()
  for _, entry in ipairs(redis.call('XRANGE', P .. ':resources', '-', '+')) do
    local counters = key('resource', entry[2][2])
    local next = number_in(counters, 'next', 1)
    if next > 1 and next + skipped <= max_counted then
      redis.call('HSET', counters, 'next', text(next + skipped))
    end
  end
end

local stored = redis.call('HGET', META, 'schema')
if stored and stored ~= schema then
  return {stored}
end
if not stored then
  redis.call('HSET', META, 'schema', schema, 'secret', secret, 'records', 0, 'ledger_bytes', 0)
end
local former = redis.call('HGET', META, 'run')
if former ~= run then
  local number = redis.call('HINCRBY', META, 'number', 1)
  redis.call('HSET', META, 'run', run, 'epoch', drawn)
  redis.call('ZADD', P .. ':epochs', number, drawn)
  redis.call('ZREMRANGEBYRANK', P .. ':epochs', 0, -max_epochs - 1)
  if former then
    skip_ids()
  end
end
return {schema, redis.call('HGET', META, 'epoch'), redis.call('HGET', META, 'number')}
