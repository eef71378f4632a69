-- Applies one batch of one partition to the tables, whole or not at all.
--
-- Redis does not roll back a script that fails half-way, so everything is checked before anything is written. Nothing
-- that is written passes through a Lua number: those are doubles, and break integers above 2^53.
--
-- KEYS  1 meta, 2 offsets, 3 counters, 4 marks, 5 months, then `tables` tables, then `records` records, those to be
--       written first.
-- ARGV  1 fingerprint, 2 field of the partition, 3 offset before, 4 offset after,
--       5 number of tables, 6 of records, 7 of records to write, 8 of counters, 9 of marks, then
--       month of each table ('' where it is not a month's), version seen of each record ('' where there was none),
--       new content of each record to write, version in front ('' removes it),
--       counters as (field, increment), marks as (field, value), cells as (index of the table, field, increment).
--
-- Returns {'OK', stored} | {'CONFLICT', stored, index of the record, ...} | {'SEEK', stored or ''} |
--         {'DEFINITIONS', fingerprint}.

local FIXED, VERSION, CHUNK = 5, 8, 4000
local tables, records, writes = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local counters, marks = tonumber(ARGV[8]), tonumber(ARGV[9])
local months_at = 9
local versions_at = months_at + tables
local contents_at = versions_at + records
local counters_at = contents_at + writes
local marks_at = counters_at + 2 * counters
local cells_at = marks_at + 2 * marks
local first_record = FIXED + tables

-- Checks.

for index = 1, FIXED + tables do
    local kind = redis.call('TYPE', KEYS[index]).ok
    local wanted = index == 5 and 'set' or 'hash'
    if kind ~= 'none' and kind ~= wanted then
        return redis.error_reply('SALESFX the key ' .. KEYS[index] .. ' is a ' .. kind .. ', not a ' .. wanted)
    end
end

local fingerprint = redis.call('HGET', KEYS[1], 'fingerprint')
local stored = redis.call('HGET', KEYS[2], ARGV[2])
if not fingerprint or not stored then
    return {'SEEK', ''}
end
if fingerprint ~= ARGV[1] then
    return {'DEFINITIONS', fingerprint}
end
if stored ~= ARGV[3] then
    return {'SEEK', stored}
end

local conflicts = {'CONFLICT', stored}
for from = 1, records, CHUNK do
    local to = math.min(from + CHUNK - 1, records)
    local found = redis.call('MGET', unpack(KEYS, first_record + from, first_record + to))
    for index = from, to do
        local record = found[index - from + 1]
        local version = record and string.sub(record, 1, VERSION) or ''
        if version ~= ARGV[versions_at + index] then
            conflicts[#conflicts + 1] = index
        end
    end
end
if #conflicts > 2 then
    return conflicts
end

-- Writes.

local pairs_to_set, keys_to_remove = {}, {}
local function flush()
    if #pairs_to_set > 0 then
        redis.call('MSET', unpack(pairs_to_set))
        pairs_to_set = {}
    end
    if #keys_to_remove > 0 then
        redis.call('DEL', unpack(keys_to_remove))
        keys_to_remove = {}
    end
end
for index = 1, writes do
    local key, content = KEYS[first_record + index], ARGV[contents_at + index]
    if content == '' then
        keys_to_remove[#keys_to_remove + 1] = key
    else
        pairs_to_set[#pairs_to_set + 1] = key
        pairs_to_set[#pairs_to_set + 1] = content
    end
    if #pairs_to_set >= CHUNK or #keys_to_remove >= CHUNK then
        flush()
    end
end
flush()

for at = cells_at + 1, #ARGV, 3 do
    local key, cell = KEYS[FIXED + tonumber(ARGV[at])], ARGV[at + 1]
    if redis.call('HINCRBY', key, cell, ARGV[at + 2]) == 0 then
        redis.call('HDEL', key, cell)
    end
end
for index = 1, tables do
    local month = ARGV[months_at + index]
    if month ~= '' then
        local change = redis.call('EXISTS', KEYS[FIXED + index]) == 1 and 'SADD' or 'SREM'
        redis.call(change, KEYS[5], month)
    end
end
for at = counters_at + 1, marks_at, 2 do
    redis.call('HINCRBY', KEYS[3], ARGV[at], ARGV[at + 1])
end
for at = marks_at + 1, cells_at, 2 do
    redis.call('HSET', KEYS[4], ARGV[at], ARGV[at + 1])
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[4])
return {'OK', ARGV[4]}
