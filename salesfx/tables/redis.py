"""The tables in a real Redis or Valkey."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

import msgspec
import redis.asyncio
from redis.exceptions import WatchError

from salesfx.definitions import Definitions
from salesfx.heartbeat import FORGOTTEN_SECONDS, MOST_FEEDS, WORKER
from salesfx.settings import Settings, SettingsError
from salesfx.tables.connection import connect
from salesfx.tables.definitions_check import definitions_lost, may_upgrade
from salesfx.tables.feed_marks import share_step
from salesfx.tables.generations import GONE, Generations, State, dropped, first_number, new_entry, read_entry
from salesfx.tables.layout import (
    FIRST_GENERATION,
    VERSION_BYTES,
    Layout,
    by_table,
    current_key,
    generations_key,
    partition_field,
)
from salesfx.tables.store import (
    Answer,
    Commit,
    Committed,
    Conflict,
    Elsewhere,
    OtherDefinitions,
    Snapshot,
    StoreUnfitError,
    TablesGoneError,
    Versioned,
)
from salesfx.tables.view import RedisView, integers, read_snapshot

SCRIPT = resources.files("salesfx.tables").joinpath("commit.lua").read_text(encoding="utf-8")
OLDEST_REDIS = (6, 2)
_CHUNK = 4000
"""Keys read by one command, so that no command holds the server up for long."""
_ATTEMPTS = 3
_NO_VERSION = bytes(VERSION_BYTES)
_pack = msgspec.msgpack.Encoder().encode


class RedisTables:
    """The tables of one namespace; see `salesfx.tables.store.Tables` for what each method does.

    What is opened is bound to one generation: it goes on with it when another is shown. Snapshots and views are of the
    generation that is shown, unless another is asked for.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        namespace: str = "salesfx",
        generation: str | None = None,
        fingerprint: str = "",
    ) -> None:
        """Make a client.

        Args:
            client: Of the Redis.
            namespace: First part of every key.
            generation: That it is bound to; None: the one that is shown when it is first opened.
            fingerprint: Of the definitions that the generation is there under; without, it is to be opened.

        """
        self._redis: Any = client  # its types allow for str where, without decode_responses, there are only bytes
        self._namespace = namespace
        self._current = current_key(namespace)
        self._register = generations_key(namespace)
        self._generation = generation
        self._layout = Layout(namespace, generation or FIRST_GENERATION)
        self._fingerprint = fingerprint
        self._script = client.register_script(SCRIPT)

    @property
    def generation(self) -> str:
        """Number of the generation that it is bound to."""
        return self._layout.generation

    @property
    def generations(self) -> Generations:
        """All generations of the namespace."""
        return Generations(self._redis, self._namespace)

    async def open(self, definitions: Definitions) -> None:
        """Make the tables ready for commits under these definitions, creating them where there are none."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self._open(definitions)
                break
            except WatchError:
                if attempt == _ATTEMPTS:
                    raise
        self._fingerprint = definitions.fingerprint

    async def _open(self, definitions: Definitions) -> None:
        async with self._redis.pipeline(transaction=True) as pipe:
            await pipe.watch(self._current, self._register)
            current = await pipe.get(self._current)
            register = await pipe.hgetall(self._register)
            shown = None if current is None else current.decode()
            generation = self._generation or shown or first_number(register)
            layout, entry = Layout(self._namespace, generation), read_entry(register.get(generation.encode()))
            await pipe.watch(layout.meta)
            stored = await pipe.hget(layout.meta, "definitions")
            replaced = self._generation is not None and shown not in {None, generation}
            if (stored is None and replaced) or (entry is not None and entry.state in GONE):
                raise dropped(generation, shown)
            lost = stored is None and await pipe.exists(layout.offsets)
            is_new = stored is None or may_upgrade(stored, definitions)
            pipe.multi()
            if is_new and not lost:
                mapping = {"definitions": definitions.canonical(), "fingerprint": definitions.fingerprint}
                pipe.hset(layout.meta, mapping=mapping)
            if shown is None and (entry is None or entry.state is State.COMPLETE):
                pipe.set(self._current, generation)
            if entry is None:
                began_under = definitions.fingerprint if stored is None and not lost else ""
                pipe.hset(self._register, generation, new_entry(State.COMPLETE, "worker", began_under))
            await pipe.execute()
            if lost:  # nobody has made the tables meanwhile
                raise definitions_lost(layout.meta)
        self._generation, self._layout = generation, layout

    async def _read_layout(self) -> Layout:
        """Name the keys of the generation that it is bound to, else of the one that is shown."""
        if self._generation is None and (shown := await self._redis.get(self._current)) is not None:
            return Layout(self._namespace, shown.decode())
        return self._layout

    async def load(self, refs: Collection[str]) -> Versioned:
        """Read records with their versions."""
        wanted = list(refs)
        found: Versioned = {}
        for start in range(0, len(wanted), _CHUNK):
            chunk = wanted[start : start + _CHUNK]
            found.update(zip(chunk, await self._redis.mget([self._layout.record(ref) for ref in chunk]), strict=True))
        return found

    async def commit(self, commit: Commit) -> Answer:
        """Apply a commit, once."""
        refs, arguments = self._packed(commit)
        return self._answer(await self._script(keys=[self._layout.meta], args=arguments), refs)

    def _packed(self, commit: Commit) -> tuple[list[str], list[bytes]]:
        """Give the records that a commit is about, and the script's arguments."""
        refs = [*commit.writes, *(ref for ref in commit.seen if ref not in commit.writes)]
        seen = b"".join(commit.seen[ref] or _NO_VERSION for ref in refs)
        contents = [b"" if content is None else commit.version + content for content in commit.writes.values()]
        batch = {
            "prefix": self._layout.prefix,
            "fingerprint": self._fingerprint,
            "ranges": [
                (partition_field(topic, partition), str(before), str(after))
                for topic, partition, before, after in commit.ranges
            ],
            "refs": refs,
            "lengths": [len(content) for content in contents],
            "tables": {name: (list(t), list(map(str, t.values()))) for name, t in by_table(commit.cells).items()},
            "counters": _strings(commit.counters),
            "marks": commit.marks,
            "heartbeats": commit.heartbeats,
            "feeds": (MOST_FEEDS, FORGOTTEN_SECONDS, WORKER),
            "arrived": {topic: share_step(*numbers) for topic, numbers in commit.arrived.items()},
        }
        return refs, [_pack(batch), seen, b"".join(contents)]

    @staticmethod
    def _answer(answer: list[Any], refs: list[str]) -> Answer:
        match answer:
            case [b"OK", *topics]:
                return Committed(tuple(topic.decode() for topic in topics))
            case [b"CONFLICT", *places]:
                return Conflict([refs[place - 1] for place in places])
            case [b"SEEK", stored]:
                return Elsewhere(int(stored) if stored else None)
            case [b"DEFINITIONS", fingerprint]:
                return OtherDefinitions(fingerprint.decode())
        raise AssertionError(f"commit.lua answered {answer!r}")

    async def offsets(self) -> dict[str, int]:
        """Read the stored offsets."""
        return integers(await self._redis.hgetall((await self._read_layout()).offsets), "offsets")

    async def start_at(self, topic: str, partition: int, offset: int) -> int:
        """Store a partition's first offset where none is stored, and give the one that is."""
        field = partition_field(topic, partition)
        async with self._redis.pipeline(transaction=True) as pipe:
            await pipe.watch(self._layout.meta)
            if not await pipe.exists(self._layout.meta):
                raise TablesGoneError("the tables are gone from Redis since they were opened")
            pipe.multi()
            pipe.hsetnx(self._layout.offsets, field, str(offset))
            pipe.hget(self._layout.offsets, field)
            _, stored = await pipe.execute()
        return int(stored)

    async def log_identity(self, ours: Mapping[str, str]) -> dict[str, str]:
        """Store ids of Kafka's cluster and topics where none are stored, and give those that are."""
        async with self._redis.pipeline(transaction=True) as pipe:
            await pipe.watch(self._layout.meta)
            there = await pipe.exists(self._layout.meta)
            pipe.multi()
            for name, identity in ours.items() if there else ():
                pipe.hsetnx(self._layout.log, name, identity)
            pipe.hgetall(self._layout.log)
            *_, stored = await pipe.execute()
        return {name.decode(): identity.decode() for name, identity in stored.items()}

    async def stored_log_identity(self) -> dict[str, str]:
        """Give the ids of Kafka's cluster and topics that are stored, without storing any."""
        stored = await self._redis.hgetall((await self._read_layout()).log)
        return {name.decode(): identity.decode() for name, identity in stored.items()}

    async def snapshot(
        self,
        tables: Collection[str] | None = (),
        generation: str | None = None,
        damaged: dict[str, str] | None = None,
    ) -> Snapshot | None:
        """Read tables and everything beside them, atomically; of a generation by its number, else of the one shown.

        Where `damaged` is given, cells of tables that are no numbers are left out and noted there: what stands in each.
        """
        return await read_snapshot(self._redis, self._namespace, tables, of_generation=generation, damaged=damaged)

    @asynccontextmanager
    async def view(
        self, tables: Collection[str] | None = None, generation: str | None = None
    ) -> AsyncIterator[RedisView | None]:
        """Open a view: the tables and records of one instant; None where there are none."""
        view = RedisView(self._redis, self._namespace, generation)
        try:
            yield view if await view.open(tables) else None
        finally:
            await view.close()

    async def check(self) -> None:
        """Refuse a Redis that is too old, or that may evict records."""
        info = await self._redis.info("server")
        version = str(info["redis_version"])
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS:
            raise StoreUnfitError(f"this is Redis {version}; salesfx needs 6.2 or newer, or Valkey")
        policy = (await self._redis.info("memory")).get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise StoreUnfitError(
                f"Redis is set to maxmemory-policy {policy}: it would drop records when memory is short, and the tables "
                "would be wrong without a word. Set `maxmemory-policy noeviction` (CONFIG SET maxmemory-policy noeviction, "
                "and in its configuration file), then start again."
            )

    async def memory(self) -> tuple[int, int]:
        """Give the bytes that Redis has in use, and its `maxmemory`: 0 where it has none."""
        info = await self._redis.info("memory")
        return int(info["used_memory"]), int(info.get("maxmemory", 0))

    async def close(self) -> None:
        """Give back its connections."""
        await self._redis.aclose()


def tables_of(settings: Settings, generation: str | None = None, fingerprint: str = "") -> RedisTables:
    """Give the tables of the Redis in the settings; nothing is sent before they are first used.

    Args:
        settings: Where the Redis is.
        generation: See `RedisTables`.
        fingerprint: See `RedisTables`.

    Raises:
        SettingsError: `redis` is not a URL of a Redis.

    """
    try:
        client = connect(settings.redis)
    except ValueError:  # its message may quote a part of the password
        raise SettingsError("redis: this is no URL of a Redis; write it like redis://127.0.0.1:6379/0") from None
    return RedisTables(client, settings.namespace, generation, fingerprint)


def _strings(increments: Mapping[str, int]) -> dict[str, str]:
    """Write integers as strings: the script's numbers are doubles."""
    return {field: str(number) for field, number in increments.items()}
