"""The production fold over plain dicts: what the worker does, without Kafka and Redis."""

from collections.abc import Iterable

from salesfx.decoder import Event, decode
from salesfx.fold import AccountFullError, Fold
from salesfx.kpi import Cells
from salesfx.refusal import Refused
from salesfx.rules import Rules


class FoldedTables:
    """Records and cells, batch by batch."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.records: dict[str, bytes] = {}
        self.cells: Cells = {}
        self.rejected: list[str] = []

    def take(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Fold one batch of (topic, value)."""
        events: list[Event] = []
        for topic, value in messages:
            try:
                events.append(decode(topic, value))
            except Refused as refused:
                self.rejected.append(refused.reason)
        self.fold(events)

    def fold(self, events: list[Event]) -> None:
        """Fold decoded events; where an account is full, in halves."""
        fold = Fold(events, self.rules)
        try:
            records = self._read(fold.first_reads())
            records |= self._read(fold.homes_left(records))
            fold.merge(records)
            records |= self._read(fold.accounts())
            outcome = fold.settle(records)
        except AccountFullError:
            if len(events) > 1:
                self.fold(events[: len(events) // 2])
                self.fold(events[len(events) // 2 :])
            return
        self.rejected.extend(rejection.refused.reason for rejection in outcome.rejections)
        for ref, record in outcome.writes.items():
            if record is None:
                self.records.pop(ref, None)
            else:
                self.records[ref] = record
        for cell, number in outcome.cells.items():
            total = self.cells.pop(cell, 0) + number
            if total:
                self.cells[cell] = total

    def _read(self, refs: Iterable[str]) -> dict[str, bytes | None]:
        return {ref: self.records.get(ref) for ref in refs}
