"""The merge of a batch onto the records that were read for it.

Where some of these change meanwhile, only the events that have to do with them are merged again: a batch of thousands shares a
few leads with what another worker has in hand.
"""

from collections.abc import Collection, Iterable, Sequence
from itertools import chain

from salesfx.decoder import Event
from salesfx.fold import Fold, Outcome
from salesfx.kpi import Cells
from salesfx.rules import Rules
from salesfx.tables import Tables
from salesfx.tables.layout import VERSION_BYTES
from salesfx.tables.store import Commit

_ABSENT = object()


class Merge:
    """Events, what was read for them, and what they come to."""

    def __init__(self, tables: Tables, rules: Rules, events: Sequence[Event], onto: Commit | None = None) -> None:
        """Make one.

        Args:
            tables: What is read.
            rules: What the events mean.
            events: To be merged.
            onto: A commit that is on its way: what it writes is taken from there, as if it were in.

        """
        self._rules = rules
        self._events = events
        self._onto = onto
        self._records = _Records(tables, onto)
        self._changed: set[str] = set()
        """Records that are not any more as they were read."""
        self._fold: Fold | None = None
        """Of all events."""
        self._links: set[tuple[str, str]] = set()
        """Records that events put together when they were merged again."""
        self._outcome: Outcome | None = None

    @property
    def versions(self) -> dict[str, bytes]:
        """Versions of all records that were read."""
        return self._records.versions

    async def outcome(self) -> Outcome:
        """Give what the events come to by the records as they are known.

        Raises:
            AccountFullError, TornReadError: As `Fold` says; the next call merges all of them anew.

        """
        known, self._outcome = self._outcome, None
        if known is None:
            self._forget()
            self._fold, self._links = Fold(self._events, self._rules), set()
            await self._merge(self._fold)
            self._outcome = self._fold.settle(self._records.contents)
        elif self._changed and self._fold is not None:
            self._outcome = await self._mended(known, self._fold)
        else:
            self._outcome = known
        return self._outcome

    def note_changed(self, refs: Iterable[str]) -> None:
        """Have records read again that others have written, and merged again what has to do with them."""
        self._changed.update(refs)

    async def look_for_changes(self) -> bool:
        """Do that with those that others have written since they were read; tell whether there are any."""
        changed = await self._records.changed()
        self.note_changed(changed)
        return bool(changed)

    def rests_on(self, commit: Commit | None) -> bool:
        """Tell whether the commit that it was merged onto got in, perhaps after conflicts, and follow what became of it."""
        onto = self._onto
        if commit is None or onto is None or commit.ranges != onto.ranges:
            return False
        if commit is not onto:
            self._changed |= self._records.follow(onto, commit)
        return True

    async def _merge(self, fold: Fold) -> None:
        """Take a fold as far as it can be settled: all that it reads is then known."""
        records = self._records
        await records.read(fold.first_reads())
        await records.read(fold.homes_left(records.contents))
        fold.merge(records.contents)
        await records.read(fold.accounts())

    async def _mended(self, outcome: Outcome, whole: Fold) -> Outcome:
        """Merge those events again that share a record with one that has changed, directly or by others.

        What they were is taken out of the outcome. Events that share no record do not know of each other, so an outcome is
        the sum of such groups.
        """
        contents, touched = dict(self._records.contents), set(self._changed)
        self._forget()
        while True:
            events, refs = _connected(whole.events, chain(whole.links(), self._links), touched)
            fold = Fold(events, self._rules)
            await self._merge(fold)
            others = (fold.refs() & contents.keys()) - refs  # a lead has got an account of another group
            if not others:
                break
            touched |= others
        now = fold.settle(self._records.contents)  # not before: others of the batch may make room in an account
        before = Fold(events, self._rules).over(contents)
        self._links.update(fold.links())
        return _replaced(outcome, events, before, now)

    def _forget(self) -> None:
        if self._changed:
            self._records.forget(self._changed)
            self._changed.clear()


def _connected(
    events: Sequence[Event], links: Iterable[tuple[str, str]], touched: Collection[str]
) -> tuple[list[Event], set[str]]:
    """Give the events that share a record with `touched`, directly or by other events, and all records of these."""
    parents: dict[str, str] = {}

    def group(ref: str) -> str:
        while (parent := parents.setdefault(ref, ref)) != ref:
            parents[ref] = ref = parents[parent]
        return ref

    for one, other in links:
        parents[group(one)] = group(other)
    groups = {group(ref) for ref in touched}
    return (
        [event for event in events if group(event.ref) in groups],
        {ref for ref in list(parents) if group(ref) in groups},
    )


def _replaced(outcome: Outcome, events: Sequence[Event], before: Outcome, now: Outcome) -> Outcome:
    """Take what some events came to out of an outcome, and put in what they come to now."""
    writes = {ref: content for ref, content in outcome.writes.items() if ref not in before.writes}
    cells: Cells = dict(outcome.cells)
    for sign, part in ((-1, before), (1, now)):
        for cell, number in part.cells.items():
            cells[cell] = cells.get(cell, 0) + sign * number
    again = set(map(id, events))
    return Outcome(
        writes | now.writes,
        {cell: number for cell, number in cells.items() if number},
        [each for each in outcome.rejections if id(each.event) not in again] + now.rejections,
    )


class _Records:
    """The records that were read for a batch, apart from their versions."""

    def __init__(self, tables: Tables, onto: Commit | None) -> None:
        """Make one; records that a commit writes are taken from there, as they will be."""
        self._tables = tables
        self._onto = onto
        self.contents: dict[str, bytes | None] = {}
        self.versions: dict[str, bytes] = {}

    async def read(self, refs: Collection[str]) -> None:
        """Read those that were not read yet."""
        missing = [ref for ref in refs if ref not in self.contents]
        if self._onto is not None:
            missing = [ref for ref in missing if not self._taken(ref, self._onto)]
        if not missing:
            return
        for ref, record in (await self._tables.load(missing)).items():
            self.versions[ref] = b"" if record is None else record[:VERSION_BYTES]
            self.contents[ref] = None if record is None else record[VERSION_BYTES:]

    def _taken(self, ref: str, onto: Commit) -> bool:
        """Take a record from the commit before, where that writes it."""
        if ref not in onto.writes:
            return False
        content = self.contents[ref] = onto.writes[ref]
        self.versions[ref] = b"" if content is None else onto.version
        return True

    def follow(self, onto: Commit, commit: Commit) -> set[str]:
        """Go over to the commit that got in in place of another; name the records that are not as they were taken."""
        self._onto = None
        changed = set()
        for ref in (onto.writes.keys() | commit.writes.keys()) & self.contents.keys():
            content = commit.writes.get(ref, _ABSENT)
            if content is not _ABSENT and content == onto.writes.get(ref, _ABSENT):
                self.versions[ref] = b"" if content is None else commit.version
            else:
                changed.add(ref)
        return changed

    async def changed(self) -> set[str]:
        """Name those that others have changed since."""
        current = await self._tables.load(list(self.versions))
        return {ref for ref, record in current.items() if (record or b"")[:VERSION_BYTES] != self.versions[ref]}

    def forget(self, refs: Collection[str]) -> None:
        """Have them read again, from the tables."""
        self._onto = None
        for ref in refs:
            del self.contents[ref], self.versions[ref]
