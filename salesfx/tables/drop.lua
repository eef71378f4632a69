-- Notes in the register that a generation is being dropped, or is gone.
--
-- What says what the tables mean goes first: nobody commits into them any more. It has to, also because of Redis at its
-- maxmemory: that refuses whatever may need memory, and all of a MULTI; but not in a script that has begun to write.
--
-- KEYS[1]  the register
-- KEYS[2]  the meta hash of the generation
-- KEYS[3]  current, and KEYS[4] the builder of the generation: where they are given, the one must not name it, nor the other be there
-- ARGV[1]  its number
-- ARGV[2]  the entry that the register must have
-- ARGV[3]  the entry that it gets
--
-- Returns 1, or 0 where something else is there by now.

if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
    return 0
end
if KEYS[3] and (redis.call('GET', KEYS[3]) == ARGV[1] or redis.call('EXISTS', KEYS[4]) == 1) then
    return 0
end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
