"""Reading records whose header names are not UTF-8, at which aiokafka gives up, with everything that comes after them.

Kafka takes any bytes for a header's name, though its clients write UTF-8. One such record must not stop all others: once
one has been met, this process reads with aiokafka's plain Python parser, whose names are then decoded leniently. That one
is slower, so it is not the default. Like `streams.transport` this touches aiokafka's insides, which is pinned for it.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy

from salesfx.lenient_bytes import EscapingBytes, LenientBytes

log = logging.getLogger("salesfx.kafka")

_FIRST_MAGIC_WITH_HEADERS = 2


class _LenientBatch(_DefaultRecordBatchPy):
    names: ClassVar[type[LenientBytes]] = LenientBytes
    _buffer: Any

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = self.names(self._buffer)


class LenientRecords(_MemoryRecordsPy):
    """The batches of a fetch, whose header names are decoded with replacement characters where they are not UTF-8."""

    def next_batch(self, *arguments: Any) -> Any:
        """Give the next batch."""
        raw = self._next_slice
        batch = super().next_batch(*arguments)
        return (
            _LenientBatch(raw) if batch is not None and raw[self.MAGIC_OFFSET] >= _FIRST_MAGIC_WITH_HEADERS else batch
        )


def is_about_a_header_name(error: BaseException) -> bool:
    """Tell whether reading failed because a name is not UTF-8."""
    return isinstance(error, UnicodeDecodeError) or isinstance(error.__cause__, UnicodeDecodeError)


def read_leniently(its_fetcher: Any, partitions: Iterable[Any]) -> None:
    """Read leniently from now on, and drop what was fetched already of these partitions: it is fetched again.

    Where records of another partition were taken in the same call, and its position with them, its next batch begins
    further on than the stored offset is, and it is read again from there.
    """
    if fetcher.MemoryRecords is not LenientRecords:
        log.warning(
            "there are records with a header name that is not UTF-8; they are read, and more slowly from now on"
        )
        fetcher.MemoryRecords = LenientRecords
    for partition in partitions:
        its_fetcher._records.pop(partition, None)  # noqa: SLF001


@contextmanager
def exact_header_names() -> Iterator[None]:
    """Have names that are not UTF-8 read so that `exact_name` gives their bytes back. It holds for the whole process."""
    before, _LenientBatch.names = _LenientBatch.names, EscapingBytes
    try:
        yield
    finally:
        _LenientBatch.names = before
