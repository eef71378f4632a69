"""What a run has shown, for people and for machines."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Report:
    """The figures of one run."""

    seed: int
    minutes: float
    faults: dict[str, int] = field(default_factory=dict)
    """By kind."""
    published: dict[str, int] = field(default_factory=dict)
    """Events that Kafka acknowledged, by what they are: load, duplicate, correction, hot, unusable."""
    events: int = 0
    """In the log at the end."""
    unusable: int = 0
    """Of these, in the log at the end."""
    worker_ends: dict[str, int] = field(default_factory=dict)
    """By exit status; -9 are our kills."""
    last_words: dict[str, int] = field(default_factory=dict)
    """Of workers that ended by themselves; numbers left out."""
    snapshots: int = 0
    """Taken while it ran, each checked for contradictions."""
    snapshots_unanswered: int = 0
    snapshots_exact: int = 0
    """Of these, compared cell by cell with the tables of their own prefix of each partition."""
    cells: int = 0
    """In the tables at the end."""
    longest_seconds_to_heal: dict[str, float] = field(default_factory=dict)
    """By kind: from the end of a fault until all was in the tables that was in the log then. Later faults lengthen it."""
    longest_seconds_to_heal_alone: dict[str, float] = field(default_factory=dict)
    """By kind, of those faults that no other one touched before they were healed."""
    drain_seconds: float = 0.0
    """From the end of all faults and publishing until the stored offsets were at the ends of the log."""
    defects: list[str] = field(default_factory=list)
    """All that was wrong; empty: passed."""
    folder: str = ""
    """Where everything is kept, where it is."""

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong."""
        return not self.defects

    def lines(self) -> list[str]:
        """Give it for people."""
        lines = [f"seed {self.seed}, {self.minutes:g} minutes, {sum(self.faults.values())} faults:"]
        lines.append(f"  {'':62}{'faults':>7}{'longest to heal':>17}{'alone':>9}")
        for kind, number in sorted(self.faults.items()):
            longest, alone = self.longest_seconds_to_heal.get(kind), self.longest_seconds_to_heal_alone.get(kind)
            lines.append(f"  {kind:62}{number:>7}{_seconds(longest):>17}{_seconds(alone):>9}")
        lines.append(
            f"events in the log: {self.events:,}, of which unusable {self.unusable:,}; published: {_each(self.published)}"
        )
        lines.append(f"worker processes that ended, by status: {_each(self.worker_ends)}")
        lines += [f"  {number:>5} x {words[:180]}" for words, number in Counter(self.last_words).most_common(12)]
        lines.append(
            f"snapshots taken meanwhile and free of contradictions: {self.snapshots:,}; of these compared exactly: "
            f"{self.snapshots_exact:,}; not answered: {self.snapshots_unanswered:,}"
        )
        lines.append(f"drained in {self.drain_seconds:.1f} s; {self.cells:,} cells compared at the end")
        lines += [f"DEFECT {defect}" for defect in self.defects]
        if self.folder:
            lines.append(f"kept in {self.folder}")
        lines.append("PASSED" if self.passed else f"FAILED: {len(self.defects)} defects")
        return lines

    def write(self, file: Path) -> None:
        """Write it as JSON."""
        file.write_text(json.dumps(asdict(self) | {"passed": self.passed}, indent=1) + "\n", encoding="utf-8")


def _seconds(number: float | None) -> str:
    return "" if number is None else f"{number:.1f} s"


def _each(numbers: dict[str, int]) -> str:
    return ", ".join(f"{name}: {number:,}" for name, number in sorted(numbers.items()))
