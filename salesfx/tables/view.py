"""Reading a real Redis or Valkey at one instant: tables in one transaction, records by a journal of what changes.

Tables are few and are read at once. Records may be a million, and reading them takes seconds, in which commits go on. So
a view registers a journal in the same transaction that reads the tables: from then on every commit appends what the
records that it writes were before. Whatever has changed since is taken from there, all else from the records.
"""

import asyncio
import contextlib
import re
import secrets
from array import array
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any

import redis.exceptions

from salesfx.tables.layout import DAYS, HOURS, MONTH, VERSION_BYTES, Layout, current_key
from salesfx.tables.store import Snapshot, TablesDamagedError, ViewLostError

JOURNAL_SECONDS = 15
"""A journal that its reader has not looked at for so long expires: it may have died."""
_CHUNK = 4000
_BUCKETS = 4096
_GLOB = re.compile(r"([*?\[\]^\\-])")


async def read_snapshot(
    client: Any,
    namespace: str,
    tables: Collection[str] | None,
    first: Callable[[Any, Layout], None] = lambda _pipe, _layout: None,
    of_generation: str | None = None,
    damaged: dict[str, str] | None = None,
) -> Snapshot | None:
    """Read tables and everything beside them in one transaction; None where there are none.

    Args:
        client: Of redis-py.
        namespace: Of the tables.
        tables: Their names; None: all of every month.
        first: Puts commands in front of the transaction, each time that it is tried.
        of_generation: Which to read; None: the one that is shown.
        damaged: See `integers`; not for the offsets, without which nobody knows what the rest is of.

    Raises:
        TablesDamagedError: What should be a number is none.

    """
    names: Collection[str] = tables or ()
    while True:
        shown = await client.get(current_key(namespace))
        generation = shown if of_generation is None else of_generation.encode()
        if generation is None:
            return None
        layout = Layout(namespace, generation.decode())
        async with client.pipeline(transaction=True) as pipe:
            first(pipe, layout)
            put_in_front = len(pipe)
            pipe.get(current_key(namespace))
            pipe.smembers(layout.months)
            for key in (layout.meta, layout.offsets, layout.counters, layout.marks, *map(layout.table, names)):
                pipe.hgetall(key)
            answers = await pipe.execute()
        still, months, meta, offsets, counters, marks, *found = answers[put_in_front:]
        if of_generation is None and still != generation:
            continue
        if not meta:
            return None
        all_months = sorted(month.decode() for month in months)
        wanted = (
            names if tables is not None else [kind + month for month in all_months for kind in (MONTH, DAYS, HOURS)]
        )
        if not set(wanted) <= set(names):
            names = wanted
            continue
        return Snapshot(
            generation=layout.generation,
            fingerprint=meta[b"fingerprint"].decode(),
            definitions=meta[b"definitions"],
            months=all_months,
            tables={name: integers(table, name, damaged) for name, table in zip(names, found, strict=True)},
            offsets=integers(offsets, "offsets"),
            counters=integers(counters, "counters", damaged),
            marks={name.decode(): mark.decode() for name, mark in marks.items()},
        )


class RedisView:
    """The tables and all records as they were at one instant; see `salesfx.tables.store.View`."""

    snapshot: Snapshot

    def __init__(self, client: Any, namespace: str, generation: str | None = None) -> None:
        self._redis = client
        self._namespace = namespace
        self._generation = generation
        self._token = secrets.token_hex(8)
        self._begun: dict[str, Layout] = {}
        """Where a journal may have been begun, by generation."""
        self._head = self._token.encode()
        """What the journal begins with, as far as we know; every read gives it another one."""
        self._reads = 0
        self._one_at_a_time = asyncio.Lock()
        self._images: dict[str, bytes | None] = {}
        """What changed since: the content at the view's instant, by reference; None where there was none."""

    async def open(self, tables: Collection[str] | None) -> bool:
        """Begin a journal, and read tables in the same transaction; False where there are none."""
        snapshot = await read_snapshot(self._redis, self._namespace, tables, self._begin, self._generation)
        if snapshot is None:
            return False
        self.snapshot = snapshot
        self._layout = self._begun[snapshot.generation]
        self._journal = self._layout.journal(self._token)
        return True

    def _begin(self, pipe: Any, layout: Layout) -> None:
        self._begun[layout.generation] = layout
        journal = layout.journal(self._token)
        pipe.delete(journal)
        pipe.rpush(journal, self._head)
        pipe.expire(journal, JOURNAL_SECONDS)
        pipe.hset(layout.journals, self._token, 0)

    async def close(self) -> None:
        """Have no journal kept any more; where Redis is away, it expires."""
        with contextlib.suppress(redis.exceptions.RedisError, OSError):
            for layout in self._begun.values():
                async with self._redis.pipeline(transaction=True) as pipe:
                    pipe.delete(layout.journal(self._token))
                    pipe.hdel(layout.journals, self._token)
                    await pipe.execute()

    async def scan(self, *kinds: str) -> AsyncIterator[dict[str, bytes]]:
        """Give every record of some kinds once, by reference and without its version, in chunks."""
        pattern = _pattern(self._layout.prefix, kinds)
        seen = _Seen()  # SCAN gives a key twice where the keyspace is rehashed meanwhile
        cursor, keys = await self._redis.scan(0, match=pattern, count=_CHUNK)
        while True:
            refs = [self._layout.ref(key.decode(errors="replace")) for key in dict.fromkeys(keys)]
            new = [ref for ref in refs if ref.startswith(kinds) and seen.add(ref)]
            found, (cursor, keys) = await self._found(new, (cursor, pattern) if cursor else None)
            chunk = {ref: content for ref, content in found.items() if content is not None}
            if chunk:
                yield chunk
            if not cursor and not keys:
                break
        yield {
            ref: image
            for ref, image in self._images.items()
            if image is not None and ref.startswith(kinds) and seen.add(ref)
        }

    async def read(self, refs: Collection[str]) -> dict[str, bytes | None]:
        """Read records, without their versions; None where there was none."""
        wanted = list(refs)
        found: dict[str, bytes | None] = {}
        for start in range(0, len(wanted), _CHUNK):
            found.update((await self._found(wanted[start : start + _CHUNK]))[0])
        return found

    async def _found(
        self, refs: Collection[str], scan: tuple[int, str] | None = None
    ) -> tuple[dict[str, bytes | None], tuple[int, list[bytes]]]:
        """Read records, and the keys that a scan gives next, together with what the journal has got until then."""
        async with self._one_at_a_time:
            self._reads += 1
            head = f"{self._token}:{self._reads}".encode()
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.lrange(self._journal, 0, -1)
                pipe.lpushx(self._journal, head)
                pipe.ltrim(self._journal, 0, 0)
                pipe.expire(self._journal, JOURNAL_SECONDS)
                pipe.hset(self._layout.journals, self._token, 0)
                before_answers = len(pipe)
                if refs:
                    pipe.mget([self._layout.record(ref) for ref in refs])
                if scan is not None:
                    pipe.scan(scan[0], match=scan[1], count=_CHUNK)
                journal, *others = await pipe.execute()
            self._note(journal)
            self._head = head
        answers = others[before_answers - 1 :]
        records = answers.pop(0) if refs else []
        current = {
            ref: None if record is None else record[VERSION_BYTES:] for ref, record in zip(refs, records, strict=True)
        }
        found = {ref: self._images.get(ref, content) for ref, content in current.items()}
        return found, answers[0] if answers else (0, [])

    def _note(self, journal: list[bytes]) -> None:
        """Take over what the journal has got.

        A head that we do not know of: redis-py has sent the transaction twice, because the first answer was lost, and with
        it what the journal held until then.
        """
        if not journal or journal[0] != self._head:
            raise ViewLostError(
                "the tables were emptied, restored or replaced while they were being read, an answer of Redis was lost, or "
                "reading them was too slow for the commits that came meanwhile. Ask again."
            )
        for ref, image in zip(journal[1::2], journal[2::2], strict=True):
            self._images.setdefault(ref.decode(), image[VERSION_BYTES:] if image else None)


class _Seen:
    """Which references there have been, of millions: by their hashes, in 8 bytes each, where a set has some hundred."""

    def __init__(self) -> None:
        self._hashes = [array("q") for _ in range(_BUCKETS)]
        """Each bucket in order."""

    def add(self, ref: str) -> bool:
        """Note one; tell whether it is new."""
        hashed = hash(ref)
        bucket = self._hashes[hashed % _BUCKETS]
        place = bisect_left(bucket, hashed)
        if place < len(bucket) and bucket[place] == hashed:
            return False
        bucket.insert(place, hashed)
        return True


def _pattern(prefix: str, kinds: Collection[str]) -> str:
    """Give a pattern for the keys of kinds, and perhaps of others: Redis knows no alternatives but of one character."""
    literal = glob_escaped(prefix)
    if len(kinds) == 1:
        return f"{literal}{next(iter(kinds))}*"
    return f"{literal}[{''.join(sorted({kind[0] for kind in kinds}))}]*"


def glob_escaped(literal: str) -> str:
    """Write a text so that a pattern of Redis means just it."""
    return _GLOB.sub(r"\\\1", literal)


def integers(table: Mapping[bytes, bytes], name: str, damaged: dict[str, str] | None = None) -> dict[str, int]:
    """Read a hash of numbers.

    Args:
        table: Its fields.
        name: Its name, without the prefix.
        damaged: Gets what is no number, by table and field; None: there must be nothing of the kind.

    Raises:
        TablesDamagedError: There is.

    """
    try:
        return {field.decode(): int(number) for field, number in table.items()}
    except ValueError:
        strange = {field: number for field, number in table.items() if not _is_cell(field, number)}
    if damaged is None:
        raise TablesDamagedError(name, next(iter(strange.items())))
    for field, number in strange.items():
        damaged[f"{name} {field.decode(errors='replace')}"] = number.decode(errors="replace")[:40]
    return integers({field: number for field, number in table.items() if field not in strange}, name)


def _is_cell(field: bytes, number: bytes) -> bool:
    try:
        field.decode()
        int(number)
    except ValueError:
        return False
    return True
