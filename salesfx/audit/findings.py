"""What an audit finds, in the form in which `--json` prints it."""

from bisect import insort
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

MAX_LISTED = 100
"""Most findings of one kind, and differing cells, that are listed; all are counted."""
MAX_BEHIND = 10
"""Most entities that are named behind one cell."""

Item = TypeVar("Item")


class Listed(msgspec.Struct, Generic[Item]):
    """A count, and the first of what is counted."""

    total: int = 0
    listed: list[Item] = []

    def note(self, item: Item, most: int = MAX_LISTED) -> None:
        """Count one, and list it where there is room."""
        self.total += 1
        if len(self.listed) < most:
            self.listed.append(item)

    def note_sorted(self, item: Item, key: Callable[[Item], Any], most: int = MAX_LISTED) -> None:
        """Count one, and list it where it is among the least: then it does not matter in which order they come."""
        self.total += 1
        if len(self.listed) < most or key(item) < key(self.listed[-1]):
            insort(self.listed, item, key=key)
            del self.listed[most:]


class CellDifference(msgspec.Struct, kw_only=True):
    """A cell that is not what it comes to when it is computed again."""

    computed_from: str
    """`records` or `log`."""
    table: str
    """Like days:2026-10."""
    field: str
    """Like 05|qualified_leads|source=web."""
    in_tables: int
    computed: int
    behind: Listed[str]
    """The entities that this computation counts there."""


class Finding(msgspec.Struct):
    """Something that is not as it should be, or that somebody should look at."""

    sentence: str
    entities: list[str]
    """References of what it speaks of, like quote:Q1."""


Findings = dict[str, Listed[Finding]]
"""By kind; docs/audit.md lists the kinds."""


def note(findings: Findings, kind: str, sentence: str, *entities: str) -> None:
    """Add a finding; they are sorted by the entities."""
    finding = Finding(sentence, list(entities))
    findings.setdefault(kind, Listed()).note_sorted(finding, lambda each: (each.entities, each.sentence))


class LogChecked(msgspec.Struct):
    """What was read of one topic's log."""

    events: int = 0
    refused: int = 0
    """Those that cannot be used."""
    by_rate: int = 0
    """Of those that can be used, how many only with a rate out of the settings."""


class Report(msgspec.Struct, kw_only=True):
    """One audit."""

    agrees: bool = True
    """False where there are differences or inconsistencies; warnings do not count."""
    month: str | None = None
    """The month that the comparison was restricted to."""
    offsets: dict[str, int]
    """What the tables stand on: by topic:partition, the offset of the next event."""
    checked: dict[str, int]
    """How many records of each kind were read, and how many cells were compared."""
    log: dict[str, LogChecked] | None = None
    """By topic; null without --from-log."""
    differences: Listed[CellDifference] = msgspec.field(default_factory=Listed)
    inconsistencies: Findings = {}
    warnings: Findings = {}

    def settle(self) -> None:
        """Work out whether everything agrees."""
        self.agrees = not self.differences.total and not any(found.total for found in self.inconsistencies.values())
