"""Reading records whose header names are not UTF-8 with kafka-python, which gives up at one, with all of its batch.

`salesfx.lenient_records` does the same for aiokafka. This touches kafka-python's insides, which is pinned for it.
"""

from typing import Any

from kafka.record import memory_records
from kafka.record.default_records import DefaultRecordBatch

from salesfx.lenient_bytes import LenientBytes


class _LenientBatch(DefaultRecordBatch):  # type: ignore[misc] # kafka-python has no types
    """A batch that goes on after such a name; one without such names costs nothing more."""

    _buffer: Any

    def _read_msg(self, *arguments: Any) -> Any:
        try:
            return super()._read_msg(*arguments)
        except UnicodeDecodeError:
            # Where it stands in the batch it notes at a record's end, so the record is read again.
            self._buffer = LenientBytes(self._buffer)
            return super()._read_msg(*arguments)


def read_leniently() -> None:
    """Have all consumers of this process read such names, with U+FFFD for what is not UTF-8."""
    memory_records.DefaultRecordBatch = _LenientBatch
