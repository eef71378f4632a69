"""The planted bugs: each the most natural form of a mistake that would break a promise to the user."""

from tests.mutants.bug import Bug

_TABLES = "tests/integration/test_tables.py::"
_MERGE, _PROCESSOR = "streams/merge.py", "tests/unit/test_processor.py::"
_LAWS = "tests/unit/test_laws.py::test_any_order_duplication_and_batching_equals_the_reference"
_PLANTED = "tests/unit/test_planted_bugs.py::"
_LUA, _REDIS = "salesfx/tables/commit.lua", "salesfx/tables/redis.py"

_COMMIT = (
    Bug(
        name="no-version-check",
        harm="Of two workers that have one lead in hand at once the later overwrites the earlier: sales are lost.",
        file=_LUA,
        old="if #conflicts > 1 then\n    return conflicts\nend\n",
        new="",
        tests=(
            _TABLES + "test_workers_of_two_partitions_do_not_disturb_each_other[valkey]",
            _TABLES + "test_a_conflict_names_all_records_that_changed[valkey]",
        ),
    ),
    Bug(
        name="version-is-a-counter",
        harm="A commit that was held up through a failover matches a record that is another by now: an event is lost.",
        file="streams/processor.py",
        old="            marks=marks,\n",
        new=(
            "            marks=marks,\n"
            "            version=(max(map(int.from_bytes, merge.versions.values()), default=0) + 1)"
            '.to_bytes(8, "big"),\n'
        ),
        tests=("tests/integration/test_planted_bugs.py::test_a_commit_held_up_through_a_failover_is_merged_again",),
    ),
    Bug(
        name="only-written-records-checked",
        harm="A category rests on an account that another worker has changed meanwhile: the table is wrong for ever.",
        file=_REDIS,
        old="refs = [*commit.writes, *(ref for ref in commit.seen if ref not in commit.writes)]",
        new="refs = list(commit.writes)",
        tests=(_TABLES + "test_a_record_that_is_only_read_is_checked[valkey]",),
    ),
    Bug(
        name="no-fingerprint-check",
        harm="Two workers with different settings add to the same tables: numbers of two meanings are mixed.",
        file=_LUA,
        old="if fingerprint ~= batch.fingerprint then\n    return {'DEFINITIONS', fingerprint}\nend\n",
        new="",
        tests=(_TABLES + "test_a_rate_for_another_currency_is_taken_over[valkey]",),
    ),
    Bug(
        name="no-offset-check",
        harm="A worker that slept moves the stored offset back or over events: they are counted twice, or never.",
        file=_LUA,
        old="    if stored ~= range[2] then\n        return {'SEEK', stored or ''}\n    end\n",
        new="",
        tests=(_TABLES + "test_a_commit_from_elsewhere_is_told_where_the_tables_are[valkey]",),
    ),
    Bug(
        name="offset-without-tables",
        harm="Redis is emptied while a worker starts: its offset is taken for damaged tables, and no worker starts again.",
        file=_REDIS,
        old="if not await pipe.exists(self._layout.meta):",
        new="if await pipe.exists(self._layout.meta) is None:",
        tests=(_TABLES + "test_no_offset_is_stored_where_the_tables_are_gone[valkey]",),
    ),
    Bug(
        name="gap-accepted",
        harm="After a failover that lost writes the worker goes on behind the gap: the events in it never count.",
        file=_LUA,
        old="if stored ~= range[2] then",
        new="if not stored or tonumber(stored) > tonumber(range[2]) then",
        tests=(_TABLES + "test_a_commit_from_elsewhere_is_told_where_the_tables_are[valkey]",),
    ),
    Bug(
        name="one-offset-of-several-checked",
        harm="Of batches that are committed together only the first is known to follow: the others' events count twice, or never.",
        file=_LUA,
        old="for _, range in ipairs(batch.ranges) do\n    local stored",
        new="for _, range in ipairs({batch.ranges[1]}) do\n    local stored",
        tests=(_TABLES + "test_one_partition_that_is_elsewhere_keeps_all_of_a_commit_out[valkey]",),
    ),
    Bug(
        name="missing-offset-is-where-the-batch-begins",
        harm="After a FLUSHALL the worker goes on from where it stands: the tables come up almost empty, without a word.",
        file=_LUA,
        old=(
            "if not fingerprint then\n    return {'SEEK', ''}\nend\n"
            "if fingerprint ~= batch.fingerprint then\n    return {'DEFINITIONS', fingerprint}\nend\n"
            "for _, range in ipairs(batch.ranges) do\n    local stored = redis.call('HGET', offsets, range[1])\n"
        ),
        new=(
            "if fingerprint and fingerprint ~= batch.fingerprint then\n    return {'DEFINITIONS', fingerprint}\nend\n"
            "for _, range in ipairs(batch.ranges) do\n"
            "    local stored = redis.call('HGET', offsets, range[1]) or range[2]\n"
        ),
        tests=(_TABLES + "test_tables_that_were_lost_are_noticed_and_made_again[valkey]",),
    ),
    Bug(
        name="offset-before-the-data",
        harm="A worker killed between the two commands, or a conflict, leaves events that never count.",
        file=_REDIS,
        old="        refs, arguments = self._packed(commit)\n",
        new=(
            "        for each in commit.ranges:\n"
            "            field = partition_field(each.topic, each.partition)\n"
            "            if await self._redis.hget(self._layout.offsets, field) == str(each.before).encode():\n"
            "                await self._redis.hset(self._layout.offsets, field, str(each.after))\n"
            "                ranges = [other._replace(before=other.after) for other in commit.ranges]\n"
            '                commit = __import__("dataclasses").replace(commit, ranges=ranges)\n'
            "        refs, arguments = self._packed(commit)\n"
        ),
        tests=(
            "tests/integration/test_planted_bugs.py::test_a_worker_that_dies_at_any_command_leaves_no_event_behind",
        ),
    ),
    Bug(
        name="counters-outside-the-commit",
        harm="The health counters drift: what is tried again is counted again, so nobody can tell what was lost.",
        file=_REDIS,
        old="        refs, arguments = self._packed(commit)\n",
        new=(
            "        for name, number in commit.counters.items():\n"
            "            await self._redis.hincrby(self._layout.counters, name, number)\n"
            '        refs, arguments = self._packed(__import__("dataclasses").replace(commit, counters={}))\n'
        ),
        tests=(_TABLES + "test_a_commit_that_is_sent_again_is_not_applied_again[valkey]",),
    ),
    Bug(
        name="cells-through-a-lua-number",
        harm="Large sums are rounded to sixteen digits, or the commit fails half-way.",
        file=_LUA,
        old="if math.max(math.abs(old), math.abs(increment), math.abs(sum)) >= EXACT then",
        new="if false then",
        tests=(_TABLES + "test_integers_are_exact_beyond_binary_floats[valkey]",),
    ),
    Bug(
        name="zero-cells-kept",
        harm="The names of withdrawn leads' sources and people stay in the tables, and a month without anything is listed.",
        file=_LUA,
        old="            elseif sum == 0 then\n                empty[#empty + 1] = field\n",
        new="",
        tests=(_TABLES + "test_withdrawn_events_leave_no_cell[valkey]",),
    ),
    Bug(
        name="types-unchecked",
        harm="A key of another type makes the script fail after its first write: records and tables disagree for ever.",
        file=_LUA,
        old="for name in pairs(batch.tables) do\n    refusal = refusal or refused(batch.prefix .. name, 'hash')\nend\n",
        new="",
        tests=(_TABLES + "test_a_key_of_a_wrong_type_stops_a_commit_before_it_writes[valkey-month:2026-10]",),
    ),
    Bug(
        name="non-atomic-reader",
        harm="The wall shows a table of one instant beside one of another: parts that do not add up to their total.",
        file="salesfx/tables/view.py",
        old="async with client.pipeline(transaction=True) as pipe:",
        new="async with client.pipeline(transaction=False) as pipe:",
        tests=(_TABLES + "test_a_snapshot_shows_one_instant[valkey]",),
    ),
    Bug(
        name="journal-lost-with-an-answer",
        harm="An audit, after Redis has paused for some seconds, compares records of several instants.",
        file="salesfx/tables/view.py",
        old="if not journal or journal[0] != self._head:",
        new="if not journal:",
        tests=("tests/integration/test_views.py::test_a_repeated_read_shows_nothing_of_another_instant",),
    ),
    Bug(
        name="view-shows-the-last-change-but-one",
        harm="An audit while events come in compares records of several instants, and finds differences that are none.",
        file="salesfx/tables/view.py",
        old="            self._images.setdefault(ref.decode(), image[VERSION_BYTES:] if image else None)\n",
        new="            self._images[ref.decode()] = image[VERSION_BYTES:] if image else None\n",
        tests=("tests/integration/test_views.py::test_a_view_stays_at_its_instant[valkey]",),
    ),
    Bug(
        name="month-not-the-sum-of-its-days",
        harm="A month's total is that of one of its days, while the days themselves are right.",
        file="salesfx/tables/layout.py",
        old="totals[field] = totals.get(field, 0) + number",
        new="totals[field] = number",
        tests=(_TABLES + "test_a_commit_is_applied_whole[memory]",),
    ),
    Bug(
        name="first-offset-moved",
        harm="Of two workers that start at once the later puts a partition back to its beginning, under the other's hands.",
        file=_REDIS,
        old="pipe.hsetnx(self._layout.offsets, field, str(offset))",
        new="pipe.hset(self._layout.offsets, field, str(offset))",
        tests=(_TABLES + "test_the_first_start_of_a_partition_stands[valkey]",),
    ),
    Bug(
        name="changed-rate-taken-over",
        harm="A corrected rate is used from now on, over sales that were converted by the old one.",
        file="salesfx/definitions.py",
        old='    kept = [rate for rate in new["rates"] if rate["currency"] in had]\n    return bool({**new, "rates": kept} == old)',
        new='    return bool({**new, "rates": old["rates"]} == old and had)',
        tests=("tests/unit/test_definitions.py::test_any_other_change_does_not_only_add",),
    ),
    Bug(
        name="a-dropped-generation-comes-back",
        harm="A worker whose tables were dropped makes them anew beside those that are shown, and nobody ever sees them.",
        file=_REDIS,
        old="if (stored is None and replaced) or (entry is not None and entry.state in GONE):",
        new="if False:",
        tests=(_TABLES + "test_nobody_brings_a_dropped_generation_back[valkey]",),
    ),
    Bug(
        name="a-swap-of-whatever-is-shown",
        harm="Of two rebuilds that were compared with the same tables the second takes the place of the first unseen.",
        file="salesfx/tables/generations.py",
        old="if instead_of is not None and current != instead_of.encode():",
        new="if instead_of is not None and current is None:",
        tests=(_TABLES + "test_two_rebuilds_begin_two_generations[valkey]",),
    ),
    Bug(
        name="money-of-the-new-rates-everywhere",
        harm="A rebuild says of changed rates or another currency that they did nothing, and cannot say what did.",
        file="salesfx/rebuilding/steps.py",
        old="            rules.price(facts)\n",
        new="            pass\n",
        tests=("tests/unit/test_rebuilding.py::test_the_tables_in_between_are_those_made_under_them[there]",),
    ),
    Bug(
        name="accounts-by-their-records-alone",
        harm="What a lead said about an account under the old limit is left out of what the change of the limit did.",
        file="salesfx/rebuilding/steps.py",
        old="            self._also.setdefault(account, []).append(ref)\n",
        new="            pass\n",
        tests=("tests/unit/test_rebuilding.py::test_the_tables_in_between_are_those_made_under_them[back]",),
    ),
    Bug(
        name="reader-of-any-definitions",
        harm="A server with other settings than the worker's shows the worker's numbers under a meaning they do not have.",
        file="salesfx/reading/reader.py",
        old="        self._check_meaning(snapshot)\n        return snapshot",
        new="        return snapshot",
        tests=("tests/unit/test_reader.py::test_other_definitions_are_refused_with_what_changed",),
    ),
)

_WORKER = (
    Bug(
        name="ranges-of-record-offsets",
        harm="One transactional producer stops the worker for ever, and the lag never comes to 0.",
        file="streams/transport.py",
        old=(
            "            partition: Piece(start, after[partition], records.get(partition, []))\n"
            "            for partition, start in before.items()\n"
            "            if after.get(partition, start) != start\n"
        ),
        new=(
            "            partition: Piece(found[0].offset, found[-1].offset + 1, found)\n"
            "            for partition, found in records.items()\n"
            "            if found and after\n"
        ),
        tests=(_PLANTED + "test_a_batch_reaches_over_what_is_no_event",),
    ),
    Bug(
        name="empty-batch-not-committed",
        harm="After an aborted transaction the lag stays above 0 for ever, and the watchdog ends one worker after another.",
        file="streams/transport.py",
        old="            if after.get(partition, start) != start\n",
        new="            if records.get(partition) and partition in after\n",
        tests=(_PLANTED + "test_a_range_without_events_is_a_batch",),
    ),
    Bug(
        name="read-uncommitted",
        harm="Events of aborted transactions count.",
        file="streams/transport.py",
        old='        consumer._isolation_level = "read_committed"\n',
        new="",
        tests=("tests/integration/test_worker.py::test_only_committed_transactions_count",),
    ),
    Bug(
        name="seek-by-the-agent",
        harm="Faust overwrites the seek and drops what is read again, without a word, until something else notices.",
        file="streams/agents.py",
        old=(
            "        )(_agent(arrivals))\n\n\n"
            "def _agent(arrivals: Arrivals) -> Any:\n"
            "    async def agent(batches: AsyncIterable[Batch]) -> None:\n"
            "        async for batch in batches:\n"
            "            arrivals.put(batch)\n"
        ),
        new=(
            "        )(_agent(arrivals, app))\n\n\n"
            "def _agent(arrivals: Arrivals, app: faust.App) -> Any:\n"
            "    async def agent(batches: AsyncIterable[Batch]) -> None:\n"
            "        async for batch in batches:\n"
            "            arrivals.put(batch)\n"
            "            await asyncio.sleep(0.05)\n"
            "            await app.consumer._carry_out_seeks()\n"
        ),
        tests=(_PLANTED + "test_what_is_read_again_reaches_the_agent",),
    ),
    Bug(
        name="aiokafka-chooses-positions",
        harm="Where the log was cut the consumer begins again at what is left of it, without a word.",
        file="streams/transport.py",
        old="        self._thread.reset_unknown_positions(allowed=False)\n",
        new="",
        tests=(_PLANTED + "test_after_our_seek_no_position_is_chosen_for_us",),
    ),
    Bug(
        name="exception-swallowed",
        harm="A batch that fails is passed over; nobody hears of the defect, and the last events before a pause do not count.",
        file="streams/agents.py",
        old="            except Exception as error:  # noqa: BLE001 - a defect of ours: once it is healed by reading again\n                self._heal(batch, error)\n",
        new='            except Exception as error:\n                log.error("%s at %d failed", batch.source, batch.before, exc_info=error)\n                return\n',
        tests=(_PROCESSOR + "test_a_defect_is_healed_once_at_one_place_and_then_ends_the_worker",),
    ),
    Bug(
        name="defect-retried-for-ever",
        harm="One event that salesfx cannot process is read again and again; the worker looks busy and commits nothing.",
        file="streams/agents.py",
        old="        self._failed_at[batch.source] = batch.before\n",
        new="",
        tests=(_PROCESSOR + "test_a_defect_is_healed_once_at_one_place_and_then_ends_the_worker",),
    ),
    Bug(
        name="own-commit-taken-for-elsewhere",
        harm="Each answer that is lost on the way has its partition read again, though its events are in.",
        file="streams/processor.py",
        old="return None if stored == work.ranges[0].after else answer",
        new="return answer",
        tests=(_PROCESSOR + "test_a_commit_whose_answer_was_lost_is_not_applied_twice",),
    ),
    Bug(
        name="elsewhere-taken-for-done",
        harm="After a failover or a restored backup the worker goes on as if its batches were in: their events never count.",
        file="streams/processor.py",
        old="return None if stored == work.ranges[0].after else answer",
        new="return None",
        tests=(_PROCESSOR + "test_a_batch_that_begins_elsewhere_has_its_partition_read_again",),
    ),
    Bug(
        name="stale-batches-processed",
        harm="While Redis is away what was fetched before a seek is tried on and on, ahead of what is to be read again.",
        file="streams/agents.py",
        old="        while self._steering.is_current(batch):\n",
        new="        while True:\n",
        tests=(_PROCESSOR + "test_a_batch_that_becomes_stale_while_it_is_tried_again_is_dropped",),
    ),
    Bug(
        name="lost-redis-noticed-by-traffic-only",
        harm="After a FLUSHALL at night the wall stays empty until the next event of each partition comes.",
        file="streams/watch.py",
        old="        self._reread_lost(positions, stored)\n",
        new="",
        tests=("tests/unit/test_watch.py::test_a_stored_offset_that_stays_elsewhere_is_read_from",),
    ),
    Bug(
        name="stuck-consumer-unnoticed",
        harm="A consumer that has hung holds its partitions for ever; nothing of them counts, and nobody is told.",
        file="streams/watch.py",
        old="            if lag == 0 or moved:\n",
        new="            if lag >= 0 or moved:\n",
        tests=("tests/unit/test_watch.py::test_nothing_committed_for_long_though_there_are_events_ends_the_worker",),
    ),
    Bug(
        name="seek-unchecked",
        harm="After a topic was made again the worker reads into nothing, and new events do not count.",
        file="streams/steering.py",
        old="            if not begins[partition] <= offset <= ends[partition]:\n",
        new="            if offset < begins[partition]:\n",
        tests=("tests/unit/test_steering.py::test_no_seek_leaves_the_log",),
    ),
    Bug(
        name="log-end-asked-too-early",
        harm="Of two workers that start on empty tables the slower ends, and says that the log was cut, which it was not.",
        file="streams/steering.py",
        old=(
            "        missing = [partition for partition in partitions if self._field(partition) not in stored]\n"
            "        if missing:\n"
            "            begins, _ = await log_range(missing)\n"
            "            for partition in missing:\n"
            "                stored[self._field(partition)] = await self._first_offset(partition, begins[partition])\n"
            "        # After the offsets: another worker may have stored one, and gone beyond an end that was asked for before.\n"
            "        begins, ends = await log_range(partitions)\n"
        ),
        new=(
            "        begins, ends = await log_range(partitions)\n"
            "        for partition in partitions:\n"
            "            if self._field(partition) not in stored:\n"
            "                stored[self._field(partition)] = await self._first_offset(partition, begins[partition])\n"
        ),
        tests=("tests/unit/test_steering.py::test_an_offset_that_another_worker_stored_meanwhile_is_no_other_log",),
    ),
    Bug(
        name="torn-read-taken-for-a-defect",
        harm="Two workers that move one quote at once end with the words that the events cannot be processed.",
        file="streams/processor.py",
        old=(
            "            except TornReadError:\n"
            "                if not await merge.look_for_changes():\n"
            "                    raise  # it is not the reading: they contradict each other in the store itself\n"
            "                continue\n"
        ),
        new="",
        tests=(_PROCESSOR + "test_a_quote_that_moves_between_two_reads_is_read_again",),
    ),
    Bug(
        name="begins-where-the-log-does",
        harm="After a loss of Redis the tables are made from what Kafka still has, incomplete, and nobody is asked.",
        file="streams/steering.py",
        old="        if begin > 0:\n            raise NeedsAttentionError(\n",
        new="        if begin < 0:\n            raise NeedsAttentionError(\n",
        tests=("tests/unit/test_steering.py::test_a_log_without_its_beginning_asks_for_a_decision",),
    ),
    Bug(
        name="together-taken-for-settled",
        harm="Of small batches that go together those that Redis refuses are passed over: their events never count.",
        file="streams/processor.py",
        old="        return self._is_in(answer)\n",
        new="        return True\n",
        tests=(_PROCESSOR + "test_one_of_them_that_begins_elsewhere_does_not_stop_the_others",),
    ),
    Bug(
        name="waits-for-a-batch-that-was-dropped",
        harm="A partition whose batch was dropped in a rebalance is never read again; its lag grows until the watchdog ends the worker.",
        file="streams/transport.py",
        old="if not each[1].is_taken and each[2] > recent]",
        new="if not each[1].is_taken]",
        tests=("tests/unit/test_arrivals.py::test_a_batch_that_never_arrives_does_not_hold_its_partition",),
    ),
    Bug(
        name="prefetched-over-a-seek",
        harm="What was fetched before a partition is read again is handed over as if it had been read since.",
        file="streams/transport.py",
        old="        self._prefetched.drop(partitions)\n",
        new="",
        tests=("tests/unit/test_prefetched.py::test_a_seek_drops_what_was_fetched_before_it",),
    ),
    Bug(
        name="lost-while-it-is-only-fetched",
        harm="What has been fetched and waits is taken for lost: the partition is read again every few seconds.",
        file="streams/transport.py",
        old="            return positions | {tp: at for tp, at in begun.items() if at is not None}\n",
        new="            return positions\n",
        tests=("tests/unit/test_prefetched.py::test_the_position_is_that_of_what_was_handed_over",),
    ),
    Bug(
        name="joined-over-a-gap",
        harm="Batches of one partition become one, and what lies between them never counts.",
        file="streams/batch.py",
        old="return (self.source, self.after, self.epoch) == (other.source, other.before, other.epoch)",
        new="return (self.source, self.epoch) == (other.source, other.epoch)",
        tests=(
            "tests/unit/test_arrivals.py::test_batches_of_one_partition_that_do_not_follow_each_other_come_apart[a gap]",
        ),
    ),
    Bug(
        name="records-read-one-by-one",
        harm="Each record is a round trip of its own: the tables are right, and hours late.",
        file=_REDIS,
        old="_CHUNK = 4000\n",
        new="_CHUNK = 1\n",
        tests=("tests/integration/test_work_done.py::test_an_event_costs_no_more_work_than_it_must",),
    ),
    Bug(
        name="letter-after-the-commit",
        harm="A worker that dies in between leaves events that neither count nor lie among the dead letters.",
        file="streams/processor.py",
        old=(
            "            if unsent:\n"
            "                await self._waiting(self._letter_box.send(unsent))\n"
            "                sent.update(letter.origin for letter in unsent)\n"
            "            answer = await self._answer(self._commit(work, merge, outcome, letters))\n"
        ),
        new=(
            "            answer = await self._answer(self._commit(work, merge, outcome, letters))\n"
            "            if unsent:\n"
            "                await self._waiting(self._letter_box.send(unsent))\n"
            "                sent.update(letter.origin for letter in unsent)\n"
        ),
        tests=(_PROCESSOR + "test_nothing_is_committed_before_its_letters_are_safe",),
    ),
    Bug(
        name="letter-not-awaited",
        harm="A dead letter that Kafka does not take is gone, with the event that it was about.",
        file="streams/dead_letters.py",
        old="                    await delivery\n",
        new="                    delivery.add_done_callback(lambda done: done.exception())\n",
        tests=("tests/integration/test_worker.py::test_a_letter_that_the_topic_does_not_take_whole_is_cut",),
    ),
    Bug(
        name="merged-again-with-stale-records",
        harm="After a conflict what the other worker wrote is overwritten by what was read before it.",
        file=_MERGE,
        old=(
            "        now = fold.settle(self._records.contents)  # not before: others of the batch may make room in an account\n"
        ),
        new="        now = Fold(events, self._rules).over(contents)\n",
        tests=(_PROCESSOR + "test_records_changed_meanwhile_are_read_and_merged_again",),
    ),
    Bug(
        name="merged-again-without-its-group",
        harm="After a conflict over a lead what the same batch says of its account is not worked out again: a wrong category.",
        file=_MERGE,
        old="    groups = {group(ref) for ref in touched}\n",
        new="    groups = set(touched)\n",
        tests=("tests/unit/test_merge.py::test_merging_again_what_changed_comes_to_what_merging_all_again_does",),
    ),
    Bug(
        name="merged-again-beside-others",
        harm="A lead got an account meanwhile of which another event of the batch tells: one of the two is lost in it.",
        file=_MERGE,
        old="            if not others:\n",
        new="            if True:\n",
        tests=("tests/unit/test_merge.py::test_a_lead_that_got_an_account_of_the_batch_draws_that_in",),
    ),
    Bug(
        name="merged-ahead-onto-another-result",
        harm="The batch before was merged again after a conflict; what was merged onto its first result is committed with it.",
        file=_MERGE,
        old="            self._changed |= self._records.follow(onto, commit)\n",
        new="            self._records.versions.update(dict.fromkeys(self._records.follow(onto, commit), commit.version))\n",
        tests=("tests/unit/test_merge.py::test_what_was_merged_onto_a_commit_follows_what_became_of_it",),
    ),
)

_MEANING = (
    Bug(
        name="the-last-to-arrive-stands",
        harm="An old version that is delivered late undoes the correction that came before it.",
        file="salesfx/fold.py",
        old="        return 1 if left > right else -1\n",
        new="        return 1 if ours.revision >= standing.revision else -1\n",
        tests=(_LAWS,),
    ),
    Bug(
        name="ties-decided-by-arrival",
        harm="Where a CRM uses one event id twice, two workers that read the same log show different numbers.",
        file="salesfx/fold.py",
        old="    return (our_content > their_content) - (our_content < their_content)\n",
        new="    return int(our_content != their_content)\n",
        tests=(_LAWS,),
    ),
    Bug(
        name="origin-by-arrival",
        harm="Which of two deliveries a number is explained by depends on the order in which partitions were read.",
        file="salesfx/fold.py",
        old="        if order > 0 or (order == 0 and standing is not None and event.standing.origin < standing.origin):\n",
        new="        if order >= 0:\n",
        tests=(_PLANTED + "test_of_two_deliveries_the_first_in_the_log_is_the_origin",),
    ),
    Bug(
        name="retraction-ignored",
        harm="A quote or deal that the CRM has deleted goes on counting.",
        file="salesfx/fold.py",
        old="        if old and old != new:\n",
        new="        if old and new and old != new:\n",
        tests=(_TABLES + "test_withdrawn_events_leave_no_cell[memory]",),
    ),
    Bug(
        name="entity-stays-under-its-old-lead",
        harm="A deal that is linked to its lead later counts twice.",
        file="salesfx/fold.py",
        old="            if self._entities(lead, event.topic).pop(event.key, None) is None:\n",
        new="            if not new and self._entities(lead, event.topic).pop(event.key, None) is None:\n",
        tests=(_LAWS,),
    ),
    Bug(
        name="old-lead-not-counted-anew",
        harm="The lead that a quote has left is still counted as qualified.",
        file="salesfx/fold.py",
        old="            self._touch(old, lead)\n",
        new="",
        tests=(_LAWS,),
    ),
    Bug(
        name="account-not-left",
        harm="A lead whose account is corrected stays a customer of the old one too: its sales count twice.",
        file="salesfx/fold.py",
        old="for account in before.keys() | after.keys() if",
        new="for account in after if",
        tests=(_LAWS,),
    ),
    Bug(
        name="crm-category-for-every-deal",
        harm="A CRM that marks every deal as new fills the new accounts with old customers.",
        file="salesfx/account.py",
        old="    if cover is None:\n        return crm_category or NEW_ACCOUNT\n",
        new="    if cover is None or crm_category:\n        return crm_category or NEW_ACCOUNT\n",
        tests=(_LAWS,),
    ),
    Bug(
        name="last-covered-day-excluded",
        harm="A renewal on the last day of its contract is booked as a customer who returned.",
        file="salesfx/account.py",
        old="cover.covered_until >= day",
        new="cover.covered_until > day",
        tests=(_PLANTED + "test_the_last_covered_day_is_covered",),
    ),
    Bug(
        name="the-latest-deal-covers",
        harm="A small order after a long contract ends the customer's coverage: expansions are booked as returning.",
        file="salesfx/account.py",
        old="        if cover is None or deal.covered_until > cover.covered_until:\n            cover = deal\n",
        new="        cover = deal\n",
        tests=(_PLANTED + "test_a_small_order_does_not_end_a_long_contract",),
    ),
    Bug(
        name="quotes-of-a-closed-lead-stay-planned",
        harm="A won deal is planned as well as booked.",
        file="salesfx/kpi.py",
        old="        if last_closed is not None and sent_at <= last_closed:\n",
        new="        if last_closed is not None and sent_at < last_closed:\n",
        tests=(_LAWS,),
    ),
    Bug(
        name="bulk-mail-at-the-limit",
        harm="A quote to exactly as many people as the settings allow qualifies nobody.",
        file="salesfx/rules.py",
        old="quote.recipient_count <= self.recipient_limit",
        new="quote.recipient_count < self.recipient_limit",
        tests=(_LAWS,),
    ),
    Bug(
        name="corrected-value-ignored",
        harm="A quote that is sent again at another price leaves the qualified lead at the value of the first.",
        file="salesfx/kpi.py",
        old="    first, latest = lead.quotes[qualifying[0][1]], lead.quotes[qualifying[-1][1]]\n",
        new="    first = latest = lead.quotes[qualifying[0][1]]\n",
        tests=(_LAWS,),
    ),
    Bug(
        name="days-so-far-beside-a-whole-month",
        harm="On the third of a month the wall compares three days with all of the month before: sales seem to collapse.",
        file="salesfx/reading/window.py",
        old='to_date(tables[f"{DAYS}{self.months[ago]}"], today.day)',
        new='to_date(tables[f"{DAYS}{self.months[ago]}"], today.day if ago == 0 else 31)',
        tests=("tests/unit/test_exporter.py::test_the_same_days_of_last_month",),
    ),
    Bug(
        name="local-date-by-utc",
        harm="What happens in the first hours of a month is counted in the month before.",
        file="salesfx/business_time.py",
        old="from_instant(quarter * _QUARTER_HOUR).astimezone(self._zone)",
        new="from_instant(quarter * _QUARTER_HOUR)",
        tests=("tests/unit/test_business_time.py::test_the_local_date_decides",),
    ),
    Bug(
        name="rate-of-today",
        harm="Last year's sales change whenever a new rate is added.",
        file="salesfx/money.py",
        old="return self._per_euro[currency][place - 1]",
        new="return self._per_euro[currency][-1]",
        tests=("tests/unit/test_money.py::test_the_latest_rate_not_after_the_event_counts",),
    ),
    Bug(
        name="rate-of-the-day-it-was-written-down",
        harm="A sale that is entered late is converted by a rate that did not hold when it was made.",
        file="salesfx/fold.py",
        old="            self._rules.price(event.facts)\n",
        new=(
            "            if isinstance(event.facts, (QuoteFacts, DealFacts)):\n"
            "                closed, event.facts.occurred_at = event.facts.occurred_at, event.standing.recorded_at\n"
            "                self._rules.price(event.facts)\n"
            "                event.facts.occurred_at = closed\n"
        ),
        tests=(_PLANTED + "test_a_sale_is_converted_by_the_rate_of_its_day",),
    ),
    Bug(
        name="float-money",
        harm="An amount like 10.005 loses a cent, and sums do not agree with the CRM's.",
        file="salesfx/money.py",
        old="hundredths = (int(whole + decimals) * 200 * numerator + divisor) // (2 * divisor)",
        new="hundredths = round(float(amount) * 100 * numerator / denominator)",
        tests=("tests/unit/test_money.py::test_the_reporting_currency_is_rounded_half_up",),
    ),
)

_PROOF = (
    Bug(
        name="refused-on-what-is-not-so-any-more",
        harm="A deal is refused for want of a place that its lead has: one sale less, for good.",
        file="streams/processor.py",
        old="            if _are_about_bounds(letters) and await merge.look_for_changes():\n",
        new="            if False:\n",
        tests=("tests/unit/test_processor.py::test_no_event_is_refused_for_a_place_that_its_lead_has",),
    ),
    Bug(
        name="explained-by-the-first-quote",
        harm="An explanation names another value than the one that counts, and its sum is not the number.",
        file="salesfx/attribution.py",
        old="lead.quotes[qualifying[0][1]], lead.quotes[qualifying[-1][1]]",
        new="lead.quotes[qualifying[0][1]], lead.quotes[qualifying[0][1]]",
        tests=("tests/unit/test_attribution.py::test_contributions_add_up_to_the_cells",),
    ),
    Bug(
        name="explained-without-the-ends-of-months",
        harm="What happened at night on the first or last of a month is missing from the explanation.",
        file="salesfx/reading/prefilter.py",
        old="_MARGIN_DAYS = 2\n",
        new="_MARGIN_DAYS = 0\n",
        tests=("tests/unit/test_explanation.py::test_the_lead_of_october",),
    ),
    Bug(
        name="hours-not-audited",
        harm="A damaged table of hours, from which the lead flow is judged, is called right.",
        file="salesfx/audit/comparison.py",
        old="_KINDS = (MONTH, DAYS, HOURS)\n",
        new="_KINDS = (MONTH, DAYS)\n",
        tests=("tests/unit/test_audit.py::test_a_month_total_that_disagrees_with_its_days_is_found",),
    ),
)

_FEED = (
    Bug(
        name="heartbeat-of-a-fast-clock",
        harm="A feed whose clock is a day ahead is taken to live for a day after it has died.",
        file="streams/processor.py",
        old="return min(self.heartbeat.sent_at / 1_000_000, self.timestamp / 1000)",
        new="return self.heartbeat.sent_at / 1_000_000",
        tests=("tests/unit/test_heartbeats.py::test_the_newest_is_marked_by_when_it_was_made",),
    ),
    Bug(
        name="heartbeat-taken-for-an-event",
        harm="The last event seems to be a minute old at most, though no CRM has sent any for days.",
        file="streams/processor.py",
        old="[record for record in batch.records if record.offset not in heard] if heard else batch.records",
        new="batch.records",
        tests=("tests/unit/test_heartbeats.py::test_the_last_events_age_is_not_refreshed",),
    ),
    Bug(
        name="heartbeat-that-comes-late-stands",
        harm="After a part of the log is read again a feed that lives is called silent.",
        file=_LUA,
        old="    elseif (tonumber(known or '0') or 0) < tonumber(moment) then\n",
        new="    else\n",
        tests=(_TABLES + "test_the_newest_heartbeat_of_a_feed_is_kept[valkey]",),
    ),
    Bug(
        name="heartbeats-of-any-number-of-feeds",
        harm="A CRM that makes up a name for each process fills Redis and Prometheus with feeds.",
        file=_LUA,
        old="    return feeds < most\n",
        new="    return true\n",
        tests=(_TABLES + "test_a_topic_has_room_for_so_many_feeds[valkey]",),
    ),
    Bug(
        name="feeds-blamed-for-the-worker",
        harm="While no worker runs every CRM is said to be silent, and people look for the fault there.",
        file="salesfx/feed.py",
        old="*([] if stuck else _silent_feeds(heard, now, zone))",
        new="*_silent_feeds(heard, now, zone)",
        tests=("tests/unit/test_feed.py::test_a_worker_that_is_not_heard_means_that_nothing_gets_through",),
    ),
    Bug(
        name="feed-silent-where-one-topic-is",
        harm="A CRM that publishes no quotes is called silent, and the wall is grey for ever.",
        file="salesfx/feed.py",
        old="max(moment, latest.get(feed, moment))",
        new="min(moment, latest.get(feed, moment))",
        tests=("tests/unit/test_feed.py::test_a_feed_is_heard_where_any_topic_has_its_heartbeat",),
    ),
)

_WALL = (
    Bug(
        name="todays-target-for-every-month",
        harm="A new target is held against months that had another: last year seems to have failed.",
        file="salesfx/targets/lines.py",
        old="return history[place - 1] if place else",
        new="return history[-1] if place else",
        tests=("tests/unit/test_targets.py::test_a_target_holds_until_a_later_line_says_otherwise",),
    ),
    Bug(
        name="targets-of-categories-not-added-up",
        harm="Where targets are set by category the wall shows none, or one that was taken back.",
        file="salesfx/targets/lines.py",
        old="return (sum(newer.values()) if newer else number) or None",
        new="return number or None",
        tests=("tests/unit/test_targets.py::test_the_target_in_all_is_the_sum_of_its_categories",),
    ),
    Bug(
        name="pace-by-calendar-days",
        harm="Over weekends and holidays the pace runs ahead of a team that does not work then.",
        file="salesfx/targets/working_time.py",
        old="counted = [day for day in days if self.works(day)] or days",
        new="counted = days",
        tests=("tests/unit/test_targets.py::test_a_working_day_goes_by_with_its_office_hours",),
    ),
    Bug(
        name="judged-from-the-first-day",
        harm="On the second of a month the wall calls the team behind, by chance alone.",
        file="salesfx/reading/progress.py",
        old="if forecast is None or seen.gone < JUDGED_FROM:",
        new="if forecast is None:",
        tests=("tests/unit/test_progress.py::test_nothing_is_judged_in_the_first_fifth",),
    ),
    Bug(
        name="behind-where-it-may-be-reached",
        harm="A target that is as likely reached as not is called missed in the middle of the month.",
        file="salesfx/reading/progress.py",
        old="return Verdict.BEHIND if high < target else Verdict.ON_TRACK",
        new="return Verdict.BEHIND if low < target else Verdict.ON_TRACK",
        tests=("tests/unit/test_progress.py::test_the_forecasts_ends_decide",),
    ),
    Bug(
        name="salespeople-named-by-their-targets",
        harm="A wall that is to name no salesperson names those who have a target to whoever looks into the page.",
        file="salesfx/reading/wall.py",
        old="progress=progress if show_salespeople else msgspec.structs.replace(progress, by_salesperson={}),",
        new="progress=progress,",
        tests=("tests/integration/test_wall.py::test_salespeople_can_be_left_out",),
    ),
    Bug(
        name="wall-deaf-to-kafka",
        harm="Kafka is away, or events pile up in it, and the wall says for another minute that it is live.",
        file="salesfx/web/watch.py",
        old="(snapshot.generation, snapshot.fingerprint, snapshot.offsets, self._beside())",
        new="(snapshot.generation, snapshot.fingerprint, snapshot.offsets)",
        tests=("tests/integration/test_wall.py::test_listeners_are_told_that_kafka_does_not_answer",),
    ),
    Bug(
        name="wall-keeps-its-colours",
        harm="A feed is cut, and the numbers that lack its events look like those of now.",
        file="salesfx/web/wall/wall.js",
        old='document.body.classList.toggle("stale", kind === "stale");',
        new='document.body.classList.toggle("stale", feed.stale);',
        tests=("tests/end_to_end/test_wall.py::test_a_feed_that_falls_silent_is_named",),
    ),
    Bug(
        name="wall-names-no-silent-feed",
        harm="The wall is grey, and nobody is told which of the feeds to look after.",
        file="salesfx/web/wall/wall.js",
        old="return feedTroubles() || words.flow.feed_broken;",
        new="return words.flow.feed_broken;",
        tests=("tests/end_to_end/test_wall.py::test_a_feed_that_falls_silent_is_named",),
    ),
    Bug(
        name="wall-cuts-its-numbers",
        harm="Trouble that takes a second line pushes the last row of the sales out of sight.",
        file="salesfx/web/wall/wall.css",
        old="line-height: 1.1; height: 4rem; align-items: center; }",
        new="line-height: 1.3; min-height: 4rem; align-items: center; }",
        tests=("tests/end_to_end/test_wall.py::test_a_feed_that_falls_silent_is_named",),
    ),
)

_ARCHIVED, _MISHAPS = "tests/integration/test_archive.py::", "tests/integration/test_archive_mishaps.py::"
_ARCHIVE = "salesfx/event_log/archive/"
_LOOKING_BACK = "tests/unit/test_looking_back.py::"

_HISTORY = (
    Bug(
        name="archived-month-removed-too-early",
        harm="A run that is killed while it commits leaves a month of which no file is there: what Kafka forgot is gone.",
        file=_ARCHIVE + "writing.py",
        old=(
            "        store_manifest(self._folder, self._manifest)\n"
            "        if old is not None and old.name != new.name:\n"
            "            (self._folder / old.name).unlink()\n"
        ),
        new=(
            "        if old is not None and old.name != new.name:\n"
            "            (self._folder / old.name).unlink()\n"
            "        store_manifest(self._folder, self._manifest)\n"
        ),
        tests=(_ARCHIVED + "test_killed_at_any_moment_it_leaves_a_valid_archive[while-it-commits]",),
    ),
    Bug(
        name="archive-and-log-overlap",
        harm="What both the archive and Kafka have comes twice, and an audit calls right tables wrong.",
        file="salesfx/event_log/kafka.py",
        old="                positions[piece.of.topic, piece.of.partition] = piece.after\n",
        new="                positions[piece.of.topic, piece.of.partition] = max(piece.of.begin, piece.after - 1)\n",
        tests=(_ARCHIVED + "test_the_log_is_read_from_the_archive_and_kafka_together",),
    ),
    Bug(
        name="archived-names-are-text",
        harm="A header's name that is no text is archived as other bytes, and nobody can tell what it was.",
        file=_ARCHIVE + "writing.py",
        old="_locked(folder), exact_header_names():\n",
        new="_locked(folder):\n",
        tests=(_ARCHIVED + "test_every_byte_is_kept",),
    ),
    Bug(
        name="archived-files-removed-before-the-gap-is-seen",
        harm="With a manifest from an older copy, files that Kafka has forgotten the events of are removed.",
        file=_ARCHIVE + "writing.py",
        old="        begins = dict(before.begins)\n",
        new="        begins = dict(before.begins)\n        self._manifest = before\n        self._remove_strays()\n",
        tests=(_MISHAPS + "test_an_older_manifest_removes_nothing_that_kafka_has_forgotten",),
    ),
    Bug(
        name="archived-by-a-clock-that-is-behind",
        harm="A machine that starts with a wrong clock writes to an earlier month, and the archive contradicts itself for good.",
        file=_ARCHIVE + "writing.py",
        old="        return Month.parse(months[-1]) if months else _FIRST_MONTH\n",
        new="        return min(Month.parse(months[-1]), self._this_month) if months else _FIRST_MONTH\n",
        tests=(_MISHAPS + "test_a_clock_that_is_behind_does_no_harm",),
    ),
    Bug(
        name="restored-from-the-start-again",
        harm="A restore that was interrupted publishes once more what is there already.",
        file=_ARCHIVE + "restoring.py",
        old="        new = piece.records[skipped:]\n",
        new="        new = piece.records\n",
        tests=("tests/integration/test_restore.py::test_an_interrupted_one_goes_on_where_it_was",),
    ),
    Bug(
        name="known-by-senders-clocks",
        harm="Where a topic has no time of Kafka's, a CRM with a wrong clock decides what was known when.",
        file="salesfx/looking_back/arrivals.py",
        old="                timestamp, self._undated = self._limit, record\n",
        new="                timestamp = record.timestamp\n",
        tests=(
            _LOOKING_BACK + "test_what_came_before_a_message_that_kafka_dated_was_known_by_then[a moment long after]",
        ),
    ),
)

_FORGETTING, _FORGET = "tests/unit/test_forgetting.py::", "tests/integration/test_forget.py::"
_WITHDRAWAL = (
    Bug(
        name="home-under-the-withdrawn-id",
        harm="Quotes and deals of a withdrawn lead live under its id: it is back in a key, and they count apart from the lead.",
        file="salesfx/forgetting.py",
        old="            event.standing.home = LEAD + lead\n",
        new="",
        tests=(_FORGETTING + "test_a_lead_is_withdrawn_from_all_three_topics",),
    ),
    Bug(
        name="withdrawn-names-without-the-list",
        harm="A list that is not at hand is taken for an empty one: looking back shows the names that were withdrawn.",
        file="salesfx/forgetting.py",
        old="        if self._is_sealed:\n            raise list_is_missing()\n",
        new="",
        tests=(_FORGETTING + "test_what_is_stored_beside_the_tables_has_neither_name_nor_key",),
    ),
    Bug(
        name="rebuild-brings-names-back",
        harm="A rebuild on a machine with an older list makes the tables anew with the names that were withdrawn.",
        file="salesfx/definitions.py",
        old="    return not ours.forgotten.goes_on_from(",
        new="    return False and ours.forgotten.goes_on_from(",
        tests=(_FORGETTING + "test_an_older_list_would_bring_names_back_and_is_told_apart",),
    ),
    Bug(
        name="withdrawal-whatever-changes",
        harm="A withdrawal changes totals, and nobody is told.",
        file="salesfx/rebuilding/withdrawal.py",
        old="            if differ:\n                return making.new, differ, []\n",
        new="",
        tests=(_FORGET + "test_a_tie_that_a_token_would_decide_otherwise_is_refused",),
    ),
    Bug(
        name="old-generation-kept",
        harm="The tables with the name stay in Redis, and going back to them shows it again.",
        file="salesfx/rebuilding/withdrawal.py",
        old="        for number in others:\n            await self._tables.generations.drop(number)\n",
        new="",
        tests=(_FORGET + "test_no_byte_of_a_name_is_left_and_no_number_changes",),
    ),
    Bug(
        name="deleted-beside-the-names",
        harm="Somebody shows the old tables while a withdrawal asks: it deletes those without the name, and leaves those with it.",
        file="salesfx/rebuilding/withdrawal.py",
        old="        if shown is None or not shown.definitions or decoded(shown.definitions).forgotten.stored != now.stored:\n",
        new="        if shown is None:\n",
        tests=(_FORGET + "test_tables_are_deleted_beside_such_as_are_made_under_the_list_only",),
    ),
    Bug(
        name="withdrawals-at-once",
        harm="Of two withdrawals at once the one's list is left, and the tables are made under the other's: no worker can add to them.",
        file="salesfx/rebuilding/withdrawal.py",
        old="        with held(self._path):\n",
        new="        if self._path:\n",
        tests=(_FORGET + "test_two_at_once_do_not_write_over_each_other",),
    ),
    Bug(
        name="names-shown-again",
        harm="Old tables that are still there are shown again, with the names that were withdrawn since.",
        file="salesfx/definitions.py",
        old="    return theirs != others and theirs.count <= others.count\n",
        new="    return theirs != others and False\n",
        tests=(_FORGETTING + "test_which_tables_would_bring_names_back",),
    ),
)

BUGS: tuple[Bug, ...] = (*_COMMIT, *_WORKER, *_MEANING, *_PROOF, *_FEED, *_WALL, *_HISTORY, *_WITHDRAWAL)
