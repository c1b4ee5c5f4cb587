-- One refresh rotation as Redis would do it: read the session, compare the hash, write the successor. Durable by
-- appendfsync always. KEYS[1] the session; ARGV[1] the new hash.
local current = redis.call('HGET', KEYS[1], 'current')
redis.call('HSET', KEYS[1], 'previous', current or '', 'current', ARGV[1], 'used', ARGV[2])
return 1
