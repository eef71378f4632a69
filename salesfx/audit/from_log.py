"""The tables computed again from Kafka's log, by code that shares nothing with what makes them."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from salesfx.audit.comparison import Comparison
from salesfx.audit.findings import Findings, LogChecked, note
from salesfx.audit.recomputation import (
    Event,
    HeartbeatError,
    NoRateError,
    RefusedError,
    World,
    cells_of,
    contributions,
    read_event,
)
from salesfx.audit.records import Progress
from salesfx.audit.winners import Mismatch, Winners
from salesfx.definitions import Definitions
from salesfx.event_log import Piece
from salesfx.events import EVENT_TYPES, TOPICS
from salesfx.kpi import Cells
from salesfx.refusal import Reason
from salesfx.settings import Settings
from salesfx.tables.store import Snapshot


class LogAudit:
    """One reading of the log, compared with the tables of one snapshot."""

    def __init__(
        self, winners: Winners, snapshot: Snapshot, definitions: Definitions, settings: Settings, progress: Progress
    ) -> None:
        """Make one; `read` reads, then `compare` compares.

        Args:
            winners: Empty but for what the records have.
            snapshot: The tables, with the offsets up to which the log is read.
            definitions: That the tables were made under.
            settings: For the names of the topics.
            progress: Told how far it is.

        """
        self._winners = winners
        self._snapshot = snapshot
        self._definitions = definitions
        self._settings = settings
        self._progress = progress
        self._without_rate = dict.fromkeys(TOPICS, 0)
        self.checked = {topic: LogChecked() for topic in TOPICS}
        self.findings: Findings = {}
        self.warnings: Findings = {}

    async def read(self, log: AsyncIterator[Piece]) -> None:
        """Keep the winning version of every entity."""
        async for piece in log:
            source = piece.of
            checked = self.checked[source.topic]
            events = []
            for record in piece.records:
                try:
                    event = self._event(source.topic, record)
                except HeartbeatError:
                    continue
                checked.events += 1
                if event is None:
                    checked.refused += 1
                else:
                    checked.by_rate += event.by_rate
                    events.append((event, source.partition, record.offset))
            self._winners.merge(events)
            self._progress("log", len(piece.records))

    def _event(self, topic: str, record: Any) -> Event | None:
        try:
            return read_event(topic, record.value or b"", self._definitions, record.headers)
        except NoRateError:
            self._without_rate[topic] += 1
        except HeartbeatError:
            raise
        except RefusedError:
            pass
        return None

    def compare(self, month: str | None) -> Comparison:
        """Compare counters, versions and cells, and name who is behind the cells that differ.

        Args:
            month: Like 2026-10, to compare the cells of that month only.

        """
        self._check_counters()
        self._winners.group()
        self._check_versions()
        for quote, leads in self._winners.quotes_of_several_leads():
            sentence = (
                f"quote:{quote} has versions that name different leads, {', '.join(f'lead:{lead}' for lead in leads)}; it "
                "counts where its greatest version says. One id for two quotes is a mapping error"
            )
            note(self.warnings, "quote_of_two_leads", sentence, f"quote:{quote}", *(f"lead:{lead}" for lead in leads))
        cells: Cells = {}
        for events in self._winners.groups():
            for cell, number in cells_of(World.of(events, self._definitions)).items():
                cells[cell] = cells.get(cell, 0) + number
            self._progress("cells", len(events))
        comparison = Comparison(self._snapshot.tables, cells, "log", month)
        if comparison:
            self._name_entities(comparison)
        return comparison

    def _name_entities(self, comparison: Comparison) -> None:
        for events in self._winners.groups():
            cells_of_entity: dict[str, set[tuple[str, str]]] = {}
            for when, metric, dimension, _, entity in contributions(World.of(events, self._definitions)):
                cells_of_entity.setdefault(entity, set()).add((when, f"{metric}|{dimension}"))
            for entity, cells in cells_of_entity.items():
                comparison.note(entity, cells)
            self._progress("behind", len(events))

    def _check_counters(self) -> None:
        counters = self._snapshot.counters
        for topic, checked in self.checked.items():
            processed = counters.get(f"processed|{topic}", 0)
            rejected = _rejected(counters, topic)
            if processed + sum(rejected.values()) != checked.events:
                sentence = (
                    f"the counters tell of {processed} events processed and {sum(rejected.values())} rejected of {topic}, "
                    f"together {processed + sum(rejected.values())}; up to the stored offsets the log holds {checked.events}"
                )
                note(self.findings, "counters", sentence)
            by_order = rejected.pop(Reason.TOO_MANY_ENTITIES, 0)
            refused = sum(rejected.values())
            # What had no rate when it came may have one by now: refused then, usable today.
            allowed = min(checked.by_rate, rejected.get(Reason.NO_RATE, 0))
            if not checked.refused <= refused <= checked.refused + allowed:
                also = f" (beside {by_order} under a lead or account that was full)" if by_order else ""
                sentence = (
                    f"the counters tell of {refused} events of {topic} that could not be used{also}; in the log there are "
                    f"{checked.refused}"
                )
                note(self.findings, "counters", sentence)

    def _check_versions(self) -> None:
        full = self._winners.full_groups()
        rejected = {topic: _rejected(self._snapshot.counters, topic) for topic in TOPICS}
        # What was refused for want of a rate, and has one now: no more than so many can be missing for that.
        waiting = {topic: rejected[topic].get(Reason.NO_RATE, 0) - self._without_rate[topic] for topic in TOPICS}
        for mismatch in self._winners.mismatches():
            refused = rejected[mismatch.topic].get(Reason.TOO_MANY_ENTITIES, 0)
            may_be_of_a_later_place = mismatch.by_rate or refused > 0
            if mismatch.same_version and mismatch.same_content and may_be_of_a_later_place:
                continue
            entity = EVENT_TYPES[mismatch.topic].entity.removesuffix("_id")
            ref = f"{entity}:{mismatch.id}"
            is_waiting = mismatch.by_rate and waiting[mismatch.topic] > 0
            if is_waiting:
                waiting[mismatch.topic] -= 1
                kind, sentence = "waiting_for_replay", self._waiting(ref, mismatch)
            elif refused and mismatch.root in full:
                kind, sentence = "full", self._full(ref, mismatch)
            else:
                kind, sentence = self._different(ref, mismatch, refused)
            note(self.findings, kind, sentence, ref)

    def _place(self, topic: str, partition: int | None, offset: int | None) -> str:
        return f"{self._settings.kafka_topic(topic)}[{partition}]@{offset}"

    def _waiting(self, ref: str, mismatch: Mismatch) -> str:
        topic, partition, offset = mismatch.topic, mismatch.partition, mismatch.offset
        return (
            f"the event of {ref} at {self._place(topic, partition, offset)} may have been refused as no_rate when it came, "
            f"and there is a rate now: see the dead letter {self._settings.kafka_topic(topic)}-{partition}-{offset}; "
            "`salesfx dead-letters replay --reason no_rate` puts it in"
        )

    def _full(self, ref: str, mismatch: Mismatch) -> str:
        place = self._place(mismatch.topic, mismatch.partition, mismatch.offset)
        return (
            f"the event of {ref} at {place} was refused as too_many_entities: which ones found a place is decided by "
            "the order in which they came, so the tables cannot be computed again there"
        )

    def _different(self, ref: str, mismatch: Mismatch, refused: int) -> tuple[str, str]:
        """Say what differs where nothing explains it: the kind, and a sentence."""
        if mismatch.in_log is None:
            sentence = (
                f"the records have {ref} (event {mismatch.in_records}), of which the log has no event that can be used"
            )
            return "not_in_log", sentence
        place = self._place(mismatch.topic, mismatch.partition, mismatch.offset)
        if mismatch.same_version and mismatch.same_content:
            theirs = self._place(mismatch.topic, mismatch.partition_in_records, mismatch.offset_in_records)
            return "another_place", f"the event of {ref} lies at {place}; the records say that it lies at {theirs}"
        if mismatch.same_version:
            sentence = (
                f"the records hold another content of {ref} than event {mismatch.in_log} at {place}, which is the version "
                "that they name"
            )
            return "another_content", sentence
        held = "lack it" if mismatch.in_records is None else f"have the version of event {mismatch.in_records}"
        sentence = f"{ref}: the log's greatest version is event {mismatch.in_log} at {place}; the records {held}"
        if refused:
            sentence += (
                f", or it was refused as too_many_entities, like {refused} events of {mismatch.topic}: see whether there is "
                f"the dead letter {self._settings.kafka_topic(mismatch.topic)}-{mismatch.partition}-{mismatch.offset}"
            )
        return "not_in_tables", sentence


def _rejected(counters: Mapping[str, int], topic: str) -> dict[str, int]:
    start = f"rejected|{topic}|"
    return {name.removeprefix(start): number for name, number in counters.items() if name.startswith(start)}
