"""Messages that came after a moment, on disk, until all of the log is read and their order is known."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing

import msgspec

from salesfx.looking_back.arrivals import Arrival

_SCHEMA = """
CREATE TABLE arrivals (
    timestamp INTEGER, topic TEXT, partition INTEGER, offset INTEGER, value BLOB, headers BLOB,
    PRIMARY KEY (timestamp, topic, partition, offset)
) WITHOUT ROWID
"""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[str, bytes | None]]).decode
_NO_HEADERS = b""


class Later:
    """A database that SQLite keeps in a file without a name: nothing is left of it, however the process ends."""

    def __init__(self) -> None:
        """Make an empty one; raises, as everything does, sqlite3.OperationalError where the folder cannot be used."""
        self._database = sqlite3.connect("", isolation_level=None)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-65536"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.execute(_SCHEMA)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, arrivals: Iterable[Arrival]) -> None:
        """Keep messages."""
        rows = [(*arrival[:5], _encode(arrival.headers) if arrival.headers else _NO_HEADERS) for arrival in arrivals]
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO arrivals VALUES (?, ?, ?, ?, ?, ?)", rows)
        self._database.execute("COMMIT")
        self._count += len(rows)

    def in_order(self) -> Iterator[Arrival]:
        """Give them in the order in which Kafka got them, then by topic, partition and offset."""
        with closing(self._database.execute("SELECT * FROM arrivals ORDER BY 1, 2, 3, 4")) as rows:
            for timestamp, topic, partition, offset, value, headers in rows:
                yield Arrival(timestamp, topic, partition, offset, value, _decode(headers) if headers else ())

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()
