"""What has been fetched and nobody has asked for yet, by partition."""

from collections import deque
from collections.abc import Collection, Iterable
from typing import NamedTuple

from faust.types import TP

from streams.batch import Record


class Piece(NamedTuple):
    """The records between two positions of a partition."""

    before: int
    after: int
    records: list[Record]


class Prefetched:
    """Keeps pieces in the order of their partition, up to a bound."""

    def __init__(self, batch_records: int, most_bytes: int) -> None:
        """Make it.

        Args:
            batch_records: Pieces of one partition are put together up to so many records; with these it has enough.
            most_bytes: With so much, all partitions together have enough.

        """
        self._batch_records = batch_records
        self._most_bytes = most_bytes
        self._pieces: dict[TP, deque[tuple[Piece, int]]] = {}
        """Each with the bytes of its values, which are counted once."""
        self._bytes = 0

    def lacking(self, partitions: Iterable[TP]) -> set[TP]:
        """Name those that do not have enough."""
        if self._bytes >= self._most_bytes:
            return set()
        return {tp for tp in partitions if self._count(tp) < self._batch_records}

    def add(self, tp: TP, piece: Piece) -> None:
        """Append a piece."""
        size = sum(len(record.value or b"") for record in piece.records)
        self._pieces.setdefault(tp, deque()).append((piece, size))
        self._bytes += size

    def take(self, partitions: Iterable[TP]) -> dict[TP, Piece]:
        """Give of each partition what joins up, as far as it is one batch."""
        return {tp: self._run(tp) for tp in partitions if tp in self._pieces}

    def position(self, tp: TP) -> int | None:
        """Tell where its first piece begins; None where there is none."""
        return self._pieces[tp][0][0].before if tp in self._pieces else None

    def drop(self, partitions: Collection[TP]) -> None:
        """Forget what there is of some partitions."""
        for tp in partitions:
            self._bytes -= sum(size for _, size in self._pieces.pop(tp, ()))

    def clear(self) -> None:
        """Forget everything."""
        self._pieces.clear()
        self._bytes = 0

    def _count(self, tp: TP) -> int:
        return sum(len(piece.records) for piece, _ in self._pieces.get(tp, ()))

    def _run(self, tp: TP) -> Piece:
        pieces = self._pieces[tp]
        (before, after, first), size = pieces.popleft()
        records = list(first)
        while pieces:
            piece, more = pieces[0]
            if piece.before != after or len(records) + len(piece.records) > self._batch_records:
                break
            pieces.popleft()
            after, size = piece.after, size + more
            records += piece.records
        if not pieces:
            del self._pieces[tp]
        self._bytes -= size
        return Piece(before, after, records)
