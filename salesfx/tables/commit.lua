-- Applies batches of as many partitions to the tables, whole or not at all.
--
-- Redis does not roll back a script that fails half-way, so everything is checked before anything is written. Lua numbers
-- are doubles, and break integers from 2^53 on. So offsets and increments come as strings, and a cell is added up here
-- only where all that takes part is below that: many cells are then one command, which is what makes a batch cheap.
--
-- KEYS[1]  the meta hash; every other key has the same hash tag and is named from the prefix.
-- ARGV[1]  MessagePack of
--          prefix       of all keys of the generation
--          fingerprint  that the tables must have
--          ranges       of each partition its field in the offsets, the offset that must be stored, and the one to store
--          refs         every record that was read, those to be written first
--          lengths      of the new contents of the records to be written, in bytes; 0 removes one
--          tables       name -> the fields, and their increments in the same order
--          counters     field -> increment
--          marks        field -> value
--          heartbeats   of each the topic, the feed, and when it was made, in Unix time
--          feeds        most of a topic beside the worker's; the seconds after which a silent one gives way; the worker's name
--          arrived      topic -> what the share of refused events is multiplied by, and what is then added
-- ARGV[2]  the versions seen, 8 bytes for each ref; zeros where there was no record
-- ARGV[3]  the new contents, one after the other, each with its version in front
--
-- Returns {'OK', topic with a feed that found no room, ...} | {'CONFLICT', index of the ref, ...} | {'SEEK', stored or ''} | {'DEFINITIONS', fingerprint}.

local VERSION, NONE, CHUNK = 8, string.rep('\0', 8), 4000  -- unpack() fails at 8,000
local EXACT = 2 ^ 53
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
if not fingerprint then
    return {'SEEK', ''}
end
if fingerprint ~= batch.fingerprint then
    return {'DEFINITIONS', fingerprint}
end
for _, range in ipairs(batch.ranges) do
    local stored = redis.call('HGET', offsets, range[1])
    if stored ~= range[2] then
        return {'SEEK', stored or ''}
    end
end

local keys, conflicts, tokens, images = {}, {'CONFLICT'}, redis.call('HKEYS', journals), {}
for index, ref in ipairs(batch.refs) do
    keys[index] = batch.prefix .. ref
end
for from = 1, #keys, CHUNK do
    local to = math.min(from + CHUNK - 1, #keys)
    local found, stand = redis.call('MGET', unpack(keys, from, to)), {}
    for index, record in ipairs(found) do
        stand[index] = record and string.sub(record, 1, VERSION) or NONE
    end
    local seen = string.sub(versions, (from - 1) * VERSION + 1, to * VERSION)
    if table.concat(stand) ~= seen then
        for index, version in ipairs(stand) do
            if version ~= string.sub(seen, (index - 1) * VERSION + 1, index * VERSION) then
                conflicts[#conflicts + 1] = from + index - 1
            end
        end
    end
    if #tokens > 0 then
        for index = from, math.min(to, #batch.lengths) do
            images[#images + 1] = batch.refs[index]
            images[#images + 1] = found[index - from + 1] or ''
        end
    end
end
if #conflicts > 1 then
    return conflicts
end

for _, token in ipairs(tokens) do
    local wrong = refused(batch.prefix .. 'journal:' .. token, 'list')
    if wrong then
        return wrong
    end
end

-- Cells: what each table gets, loses, and can only add up itself.

local tables = {}
for name, table in pairs(batch.tables) do
    local key, fields, increments = batch.prefix .. name, table[1], table[2]
    local sums, empty, large = {}, {}, {}
    for from = 1, #fields, CHUNK do
        local to = math.min(from + CHUNK - 1, #fields)
        local found = redis.call('HMGET', key, unpack(fields, from, to))
        for index = from, to do
            local field, before = fields[index], found[index - from + 1] or '0'
            if not string.find(before, '^%-?%d+$') then
                return redis.error_reply('SALESFX the key ' .. key .. ' holds no number under ' .. field)
            end
            local old, increment = tonumber(before), tonumber(increments[index])
            local sum = old + increment
            if math.max(math.abs(old), math.abs(increment), math.abs(sum)) >= EXACT then
                large[#large + 1] = index
            elseif sum == 0 then
                empty[#empty + 1] = field
            else
                sums[#sums + 1] = field
                sums[#sums + 1] = string.format('%d', sum)
            end
        end
    end
    tables[name] = { key, sums, empty, large }
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

local function in_chunks(command, key, values)
    for first = 1, #values, CHUNK do
        redis.call(command, key, unpack(values, first, math.min(first + CHUNK - 1, #values)))
    end
end
for name, table in pairs(tables) do
    local key, sums, empty, large = unpack(table)
    in_chunks('HSET', key, sums)
    in_chunks('HDEL', key, empty)
    for _, index in ipairs(large) do
        local field = batch.tables[name][1][index]
        if redis.call('HINCRBY', key, field, batch.tables[name][2][index]) == 0 then
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
for topic, step in pairs(batch.arrived) do
    local name = 'refused_share|' .. topic
    local before = redis.call('HGET', marks, name)
    local share = (tonumber(before or '0') or 0) * step[1] + step[2]
    if share >= 0.001 then
        redis.call('HSET', marks, name, string.format('%.6f', share))
    elseif before then
        redis.call('HDEL', marks, name)
    end
end

-- Feeds: a new one is kept where there is room, or where another was silent for long.
local most, forgotten, worker = unpack(batch.feeds)
local function has_room(kind, moment)
    local all, feeds, oldest, heard = redis.call('HGETALL', marks), 0, nil, nil
    for index = 1, #all, 2 do
        local field = all[index]
        if string.sub(field, 1, #kind) == kind and field ~= kind .. worker then
            local at = tonumber(all[index + 1]) or 0
            feeds = feeds + 1
            if not heard or at < heard or (at == heard and field < oldest) then
                oldest, heard = field, at
            end
        end
    end
    if feeds >= most and heard < moment - forgotten then
        redis.call('HDEL', marks, oldest)
        return true
    end
    return feeds < most
end
local answer = {'OK'}
for _, heartbeat in ipairs(batch.heartbeats) do
    local topic, feed, moment = unpack(heartbeat)
    local kind = 'last_heartbeat|' .. topic .. '|'
    local known = redis.call('HGET', marks, kind .. feed)
    if not known and feed ~= worker and not has_room(kind, tonumber(moment)) then
        answer[#answer + 1] = topic
    elseif (tonumber(known or '0') or 0) < tonumber(moment) then
        redis.call('HSET', marks, kind .. feed, moment)
    end
end
local reached = {}
for _, range in ipairs(batch.ranges) do
    reached[#reached + 1] = range[1]
    reached[#reached + 1] = range[3]
end
in_chunks('HSET', offsets, reached)
return answer
