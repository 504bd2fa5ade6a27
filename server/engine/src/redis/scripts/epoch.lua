-- Begins the epoch of a run of Redis, unless it has begun. ARGV: the schema of the caller, the run
-- id of the master, a drawn epoch, a drawn secret, the maximum number of stored epochs. Returns the
-- schema of the data, the epoch and its number.
local schema, run, drawn, secret, max_epochs = take(), take(), take(), take(), take_number()
local stored = redis.call('HGET', META, 'schema')
if stored and stored ~= schema then
  return {stored}
end
if not stored then
  redis.call('HSET', META, 'schema', schema, 'secret', secret, 'records', 0, 'ledger_bytes', 0)
end
if redis.call('HGET', META, 'run') ~= run then
  local number = redis.call('HINCRBY', META, 'number', 1)
  redis.call('HSET', META, 'run', run, 'epoch', drawn)
  redis.call('ZADD', P .. ':epochs', number, drawn)
  redis.call('ZREMRANGEBYRANK', P .. ':epochs', 0, -max_epochs - 1)
end
return {schema, redis.call('HGET', META, 'epoch'), redis.call('HGET', META, 'number')}
