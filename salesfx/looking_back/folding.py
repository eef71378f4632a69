"""The worker's fold over plain dicts: all records, and the cells of one month."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from salesfx.attribution import Contribution, of_account, of_lead
from salesfx.decoder import Event
from salesfx.fold import AccountFullError, Fold, Outcome, decode_account, decode_lead, decode_standing
from salesfx.kpi import Cells, add_sales
from salesfx.lead import ACCOUNT, HOMES, LEAD, Standing
from salesfx.looking_back.arrivals import Arrival
from salesfx.reading.month import Month
from salesfx.refusal import Refused
from salesfx.rules import Rules
from salesfx.tables.layout import MONTH, by_table

Fields = dict[str, int]
"""Numbers of a month's table, by `metric|dimension`; 0 is left out."""
_AT_ONCE = 4000
"""Most events of one fold: as many as the worker takes."""


class Step(NamedTuple):
    """What one event changed in the month."""

    event: Event
    before: Standing | None
    """The version of its entity that it replaced; None where it is the first."""
    changes: Fields
    """What it added to the month's table."""
    by_entity: dict[str, Fields]
    """The same by the lead, quote or deal whose contribution it is: one event may change what others count as."""


class MonthFold:
    """Everything that the fold keeps, without versions or servers, and the table of one month."""

    def __init__(self, rules: Rules, month: Month) -> None:
        """Make one, empty.

        Args:
            rules: What events mean.
            month: Whose table is kept.

        """
        self._rules = rules
        self._month = str(month)
        self._records: dict[str, bytes] = {}
        self.table: Fields = {}
        self.events = 0
        """How many there were, heartbeats not counted."""
        self.refused = 0
        """How many of them could not be used."""

    @property
    def records(self) -> Mapping[str, bytes]:
        """All records, as they are stored in Redis but for the version in front."""
        return self._records

    def take(self, arrivals: Sequence[Arrival]) -> None:
        """Fold messages, many at once."""
        for start in range(0, len(arrivals), _AT_ONCE):
            events = [event for arrival in arrivals[start : start + _AT_ONCE] for event in self._events(arrival)]
            self._fold(events)

    def take_one(self, arrival: Arrival) -> Step | None:
        """Fold one message, and tell what it changed in the month; None where that is nothing."""
        for event in self._events(arrival):
            outcome = self._outcome([event])
            if outcome is None:
                return None
            changes = self._of_month(outcome.cells)
            if not changes:
                self._apply(outcome)
                return None
            # What was stored before is looked at only for the few events that change the month.
            standing = self._standing(event)
            refs = list(outcome.writes)
            contributions = self._by_entity(refs)
            self._apply(outcome)
            return Step(event, standing, changes, _differences(contributions, self._by_entity(refs)))
        return None

    def _events(self, arrival: Arrival) -> Iterator[Event]:
        """Give the event of a message, if it has one that can be used."""
        try:
            event = arrival.event()
        except Refused:
            self.events += 1
            self.refused += 1
            return
        if event is not None:
            self.events += 1
            yield event

    def _fold(self, events: list[Event]) -> None:
        """Fold events; where an account would be full, in halves, down to the one that is refused."""
        if not events:
            return
        outcome = self._outcome(events)
        if outcome is not None:
            self._apply(outcome)
        elif len(events) > 1:
            self._fold(events[: len(events) // 2])
            self._fold(events[len(events) // 2 :])

    def _outcome(self, events: list[Event]) -> Outcome | None:
        """Work out what events come to; None where an account would be full, of which one event is refused."""
        fold = Fold(events, self._rules)
        records = self._read(fold.first_reads())
        records |= self._read(fold.homes_left(records))
        fold.merge(records)
        records |= self._read(fold.accounts())
        try:
            return fold.settle(records)
        except AccountFullError:
            self.refused += len(events) == 1
            return None

    def _read(self, refs: Iterable[str]) -> dict[str, bytes | None]:
        return {ref: self._records.get(ref) for ref in refs}

    def _apply(self, outcome: Outcome) -> None:
        self.refused += len(outcome.rejections)
        for ref, record in outcome.writes.items():
            if record is None:
                self._records.pop(ref, None)
            else:
                self._records[ref] = record
        _add(self.table, self._of_month(outcome.cells))

    def _of_month(self, cells: Cells) -> Fields:
        ours = {cell: number for cell, number in cells.items() if cell[0].startswith(self._month)}
        return by_table(ours).get(MONTH + self._month, {}) if ours else {}

    def _standing(self, event: Event) -> Standing | None:
        record = self._records.get(event.ref)
        if record is None:
            return None
        return decode_lead(record).own if event.ref.startswith(LEAD) else decode_standing(record)

    def _by_entity(self, refs: Iterable[str]) -> dict[str, Fields]:
        """Give what each lead, quote and deal under some records contributes to the month now."""
        entities: dict[str, Fields] = {}
        for each in self._contributions(refs):
            if each.date.startswith(self._month):
                fields = {field: number for (when, field), number in each.cells().items() if when == each.date}
                _add(entities.setdefault(each.entity, {}), fields)
        return entities

    def _contributions(self, refs: Iterable[str]) -> Iterator[Contribution]:
        for ref in refs:
            record = self._records.get(ref)
            if record is None:
                continue
            if ref.startswith(HOMES):
                lead = decode_lead(record)
                yield from of_lead(ref, lead, self._rules)
                statements = add_sales({}, 1, ref, lead, self._rules)
                if ref in statements:  # it is its own account
                    yield from of_account(ref, {ref: statements[ref]}, self._rules)
            elif ref.startswith(ACCOUNT):
                yield from of_account(ref, decode_account(record).statements, self._rules)


def _add(table: Fields, increments: Mapping[str, int]) -> None:
    for field, number in increments.items():
        total = table.pop(field, 0) + number
        if total:
            table[field] = total


def _differences(before: Mapping[str, Fields], after: Mapping[str, Fields]) -> dict[str, Fields]:
    found = {}
    for entity in sorted(before.keys() | after.keys()):
        fields = dict(after.get(entity, {}))
        _add(fields, {field: -number for field, number in before.get(entity, {}).items()})
        if fields:
            found[entity] = fields
    return found
