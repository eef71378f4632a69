-- Applies one batch of one partition to the tables, whole or not at all.
--
-- Redis does not roll back a script that fails half-way, so everything is checked before anything is written. Nothing
-- that is written passes through a Lua number: those are doubles, and break integers above 2^53. So increments and
-- offsets come as strings.
--
-- KEYS[1]  the meta hash; every other key has the same hash tag and is named from the prefix.
-- ARGV[1]  MessagePack of
--          prefix       of all keys of the generation
--          fingerprint  that the tables must have
--          partition    field of the partition in the offsets
--          before       the offset that must be stored
--          after        the offset to store
--          refs         every record that was read, those to be written first
--          lengths      of the new contents of the records to be written, in bytes; 0 removes one
--          tables       name -> field -> increment
--          counters     field -> increment
--          marks        field -> value
-- ARGV[2]  the versions seen, 8 bytes for each ref; zeros where there was no record
-- ARGV[3]  the new contents, one after the other, each with its version in front
--
-- Returns {'OK', stored} | {'CONFLICT', stored, index of the ref, ...} | {'SEEK', stored or ''} |
--         {'DEFINITIONS', fingerprint}.

local VERSION, NONE, CHUNK = 8, string.rep('\0', 8), 4000  -- unpack() fails at 8,000
local JOURNAL_BYTES = 64 * 1024 * 1024
local batch, versions, contents = cmsgpack.unpack(ARGV[1]), ARGV[2], ARGV[3]
local meta, offsets = batch.prefix .. 'meta', batch.prefix .. 'offsets'
local counters, marks, months = batch.prefix .. 'counters', batch.prefix .. 'marks', batch.prefix .. 'months'
local journals = batch.prefix .. 'journals'

-- Checks.

local function refused(key, wanted)
    local kind = redis.call('TYPE', key).ok
    if kind ~= 'none' and kind ~= wanted then
        return redis.error_reply('SALESFX the key ' .. key .. ' is a ' .. kind .. ', not a ' .. wanted)
    end
end
local refusal = refused(months, 'set') or refused(meta, 'hash') or refused(offsets, 'hash')
    or refused(counters, 'hash') or refused(marks, 'hash') or refused(journals, 'hash')
for name in pairs(batch.tables) do
    refusal = refusal or refused(batch.prefix .. name, 'hash')
end
if refusal then
    return refusal
end

local fingerprint = redis.call('HGET', meta, 'fingerprint')
local stored = redis.call('HGET', offsets, batch.partition)
if not fingerprint or not stored then
    return {'SEEK', ''}
end
if fingerprint ~= batch.fingerprint then
    return {'DEFINITIONS', fingerprint}
end
if stored ~= batch.before then
    return {'SEEK', stored}
end

local keys, conflicts, tokens, images = {}, {'CONFLICT', stored}, redis.call('HKEYS', journals), {}
for index, ref in ipairs(batch.refs) do
    keys[index] = batch.prefix .. ref
end
for from = 1, #keys, CHUNK do
    local to = math.min(from + CHUNK - 1, #keys)
    local found = redis.call('MGET', unpack(keys, from, to))
    for index = from, to do
        local record = found[index - from + 1]
        local seen = string.sub(versions, (index - 1) * VERSION + 1, index * VERSION)
        if (record and string.sub(record, 1, VERSION) or NONE) ~= seen then
            conflicts[#conflicts + 1] = index
        end
        if #tokens > 0 and index <= #batch.lengths then
            images[#images + 1] = batch.refs[index]
            images[#images + 1] = record or ''
        end
    end
end
if #conflicts > 2 then
    return conflicts
end

for _, token in ipairs(tokens) do
    local wrong = refused(batch.prefix .. 'journal:' .. token, 'list')
    if wrong then
        return wrong
    end
end

-- Writes.

-- Who looks at one instant is told what the records were before. A journal ends that nobody has refreshed, and so has
-- expired, or that is read too slowly: the commits must not fill Redis with it.
local bytes = 0
for _, part in ipairs(images) do
    bytes = bytes + #part
end
for _, token in ipairs(tokens) do
    local journal = batch.prefix .. 'journal:' .. token
    local goes_on = redis.call('HINCRBY', journals, token, string.format('%d', bytes)) <= JOURNAL_BYTES
    for from = 1, #images, CHUNK do
        goes_on = goes_on
            and redis.call('RPUSHX', journal, unpack(images, from, math.min(from + CHUNK - 1, #images))) > 0
    end
    if not goes_on then
        redis.call('DEL', journal)
        redis.call('HDEL', journals, token)
    end
end

local set, removed = {}, {}
local function flush(least)
    if #set > least then
        redis.call('MSET', unpack(set))
        set = {}
    end
    if #removed > least then
        redis.call('DEL', unpack(removed))
        removed = {}
    end
end
local from = 1
for index, length in ipairs(batch.lengths) do
    if length == 0 then
        removed[#removed + 1] = keys[index]
    else
        set[#set + 1] = keys[index]
        set[#set + 1] = string.sub(contents, from, from + length - 1)
        from = from + length
    end
    flush(CHUNK - 2)
end
flush(0)

for name, cells in pairs(batch.tables) do
    local key = batch.prefix .. name
    for field, increment in pairs(cells) do
        if redis.call('HINCRBY', key, field, increment) == 0 then
            redis.call('HDEL', key, field)
        end
    end
    local month = string.match(name, '^month:(.*)')
    if month then
        redis.call(redis.call('EXISTS', key) == 1 and 'SADD' or 'SREM', months, month)
    end
end
for field, increment in pairs(batch.counters) do
    redis.call('HINCRBY', counters, field, increment)
end
for field, value in pairs(batch.marks) do
    redis.call('HSET', marks, field, value)
end
redis.call('HSET', offsets, batch.partition, batch.after)
return {'OK', batch.after}
