"""The generations of the tables: whole sets of keys beside each other, of which one is shown.

A rebuild makes a new one beside the live one. Which there are stands in a register; numbers are never used twice, so a
worker of a generation that was dropped can tell that it was.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec
from redis.exceptions import WatchError

from salesfx.definitions import Definitions
from salesfx.errors import NeedsAttentionError, SalesfxError
from salesfx.tables.layout import FIRST_GENERATION, Layout, current_key, generations_key, partition_field
from salesfx.tables.store import TablesGoneError
from salesfx.tables.view import glob_escaped

LEASE_SECONDS = 5
"""A rebuild that has not said for so long that it is at work has died."""
_ATTEMPTS = 5
_CHUNK = 4000
_SAMPLED = 100
"""Of so many keys of a chunk the memory is asked for."""


class State(StrEnum):
    """How far a generation is."""

    BUILDING = "building"
    """A rebuild makes it; it has never been as far as the live one."""
    COMPLETE = "complete"
    """It can be shown."""
    DROPPING = "dropping"
    """It is being deleted, or that was interrupted."""
    DROPPED = "dropped"
    """It is gone; the entry keeps its number from being used again."""


GONE = (State.DROPPING, State.DROPPED)


class Entry(msgspec.Struct, frozen=True):
    """What the register says of a generation."""

    state: State
    begun: str
    """When, in RFC 3339."""
    by: str
    """`worker` or `rebuild`."""


class Generation(msgspec.Struct, frozen=True):
    """A generation that is there."""

    number: str
    shown: bool
    state: State
    begun: str
    by: str
    fingerprint: str
    """Empty where it is being dropped, or damaged."""
    definitions: bytes
    """Canonical JSON."""
    offsets: dict[str, int]


class GenerationError(NeedsAttentionError):
    """What was asked for cannot be done with this generation."""


class DroppedError(SalesfxError):
    """The generation that a worker was started for is gone; one that is started now takes the one that is shown."""


class AnotherAtWorkError(SalesfxError):
    """Another rebuild is making the generation."""


class Size(msgspec.Struct, frozen=True):
    """What a generation takes up."""

    keys: int
    bytes: int
    """Roughly: by some of its keys."""


def new_entry(state: State, by: str) -> bytes:
    """Write an entry of the register, of now."""
    return msgspec.json.encode(Entry(state, datetime.now(UTC).isoformat(timespec="seconds"), by))


def read_entry(raw: bytes | None) -> Entry | None:
    """Read an entry of the register."""
    return None if raw is None else msgspec.json.decode(raw, type=Entry)


def first_number(register: dict[bytes, bytes]) -> str:
    """Choose the generation of a worker that finds none shown.

    Raises:
        GenerationError: Several are there, and nothing says which of them is shown.

    """
    there = {number.decode(): entry for number, raw in register.items() if (entry := read_entry(raw)) is not None}
    living = [number for number, entry in there.items() if entry.state not in GONE]
    if not living:
        return _next_number(register)
    if len(living) == 1 and there[living[0]].state is State.COMPLETE:
        return living[0]
    raise GenerationError(
        f"there are the generations {', '.join(sorted(living, key=int))} of the tables, and the key that says which of them "
        "is shown is gone. Say which by `salesfx generations show N`, or put a backup of Redis back."
    )


def dropped(number: str, current: str | None) -> DroppedError:
    """Say that a worker's generation is not there any more."""
    shown = "another is shown" if current is None else f"generation {current} is shown"
    return DroppedError(
        f"generation {number} of the tables, which this worker was started for, was dropped, or Redis was put back to a time "
        f"before it; {shown} now. A worker that is started now takes that one, if its settings are those."
    )


def _next_number(register: dict[bytes, bytes]) -> str:
    return str(max((int(number) for number in register), default=int(FIRST_GENERATION) - 1) + 1)


class Generations:
    """The generations of one namespace in a Redis."""

    def __init__(self, client: Any, namespace: str) -> None:
        self._redis = client
        self._namespace = namespace
        self._current = current_key(namespace)
        self._register = generations_key(namespace)

    async def all(self) -> list[Generation]:
        """List those that are there, the oldest first."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.get(self._current)
            pipe.hgetall(self._register)
            current, register = await pipe.execute()
        entries = {number.decode(): entry for number, raw in register.items() if (entry := read_entry(raw)) is not None}
        if current is not None:
            entries.setdefault(current.decode(), Entry(State.COMPLETE, "", "worker"))
        numbers = sorted((number for number, entry in entries.items() if entry.state != State.DROPPED), key=int)
        layouts = [Layout(self._namespace, number) for number in numbers]
        async with self._redis.pipeline(transaction=True) as pipe:
            for layout in layouts:
                pipe.hgetall(layout.meta)
                pipe.hgetall(layout.offsets)
            answers = await pipe.execute()
        return [
            Generation(
                number,
                current is not None and current.decode() == number,
                *(entries[number].state, entries[number].begun, entries[number].by),
                fingerprint=meta.get(b"fingerprint", b"").decode(),
                definitions=meta.get(b"definitions", b""),
                offsets={field.decode(): int(offset) for field, offset in offsets.items()},
            )
            for number, meta, offsets in zip(numbers, answers[::2], answers[1::2], strict=True)
        ]

    async def get(self, number: str) -> Generation:
        """Find one.

        Raises:
            GenerationError: There is none.

        """
        there = await self.all()
        for each in there:
            if each.number == number:
                return each
        raise _none(number, [each.number for each in there])

    async def begin(self, definitions: Definitions, live: str) -> str:
        """Begin a new generation beside the live one, of the same log.

        Returns:
            Its number.

        """

        async def begin(pipe: Any) -> str:
            await pipe.watch(self._register, Layout(self._namespace, live).log)
            register = {live.encode(): new_entry(State.COMPLETE, "worker"), **await pipe.hgetall(self._register)}
            number = _next_number(register)
            identity = await pipe.hgetall(Layout(self._namespace, live).log)
            layout = Layout(self._namespace, number)
            pipe.multi()
            pipe.hsetnx(self._register, live, register[live.encode()])
            pipe.hset(self._register, number, new_entry(State.BUILDING, "rebuild"))
            mapping = {"definitions": definitions.canonical(), "fingerprint": definitions.fingerprint}
            pipe.hset(layout.meta, mapping=mapping)
            if identity:
                pipe.hset(layout.log, mapping=identity)
            await pipe.execute()
            return number

        begun: str = await self._watching(begin)
        return begun

    async def complete(self, number: str) -> None:
        """Note that a generation can be shown."""

        async def complete(pipe: Any) -> None:
            await pipe.watch(self._register)
            entry = read_entry(await pipe.hget(self._register, number))
            if entry is None or entry.state in GONE:
                raise TablesGoneError(f"generation {number} was dropped")
            pipe.multi()
            pipe.hset(self._register, number, _in_state(entry, State.COMPLETE))
            await pipe.execute()

        await self._watching(complete)

    async def show(self, number: str, instead_of: str | None = None) -> None:
        """Have readers show a generation, from one command to the next.

        Args:
            number: Which.
            instead_of: The one that must be shown now; None: whichever is.

        Raises:
            GenerationError: It is not there or not complete, or another is shown than should be.

        """

        async def show(pipe: Any) -> None:
            meta = Layout(self._namespace, number).meta
            await pipe.watch(self._current, self._register, meta)
            current = await pipe.get(self._current)
            entry = read_entry(await pipe.hget(self._register, number))
            if not await pipe.exists(meta) or (entry is not None and entry.state in GONE):
                raise _none(number, [])
            if entry is not None and entry.state is State.BUILDING:
                raise GenerationError(
                    f"generation {number} is only half made. `salesfx rebuild`, with the settings that it is made under, goes "
                    "on with it."
                )
            if instead_of is not None and (current is None or current.decode() != instead_of):
                now = "none" if current is None else current.decode()
                raise GenerationError(
                    f"generation {now} is shown by now, not {instead_of}, with which generation {number} was compared; nothing "
                    "was changed. Run `salesfx rebuild` again, or `salesfx generations show` to choose without a comparison."
                )
            pipe.multi()
            pipe.set(self._current, number)
            await pipe.execute()

        await self._watching(show)

    async def drop(self, number: str, progress: Callable[[int], None] = lambda _: None) -> None:
        """Delete a generation; where that is interrupted, it can be done again.

        What says what the tables mean goes first, so that nobody commits into them any more.

        Args:
            number: Which.
            progress: Told of keys that are deleted.

        Raises:
            GenerationError: It is not there, or it is shown.
            AnotherAtWorkError: A rebuild is making it.

        """

        async def mark(pipe: Any) -> Entry:
            entry = await self._droppable(pipe, number)
            pipe.multi()
            pipe.hset(self._register, number, _in_state(entry, State.DROPPING))
            pipe.delete(Layout(self._namespace, number).meta)
            await pipe.execute()
            return entry

        entry = await self._watching(mark)
        async for keys in self._keys(number):
            await self._redis.unlink(*keys)
            progress(len(keys))
        await self._redis.hset(self._register, number, _in_state(entry, State.DROPPED))

    async def check_drop(self, number: str) -> None:
        """See whether a generation can be dropped; raises what `drop` raises."""
        await self._watching(lambda pipe: self._droppable(pipe, number))

    async def _droppable(self, pipe: Any, number: str) -> Entry:
        builder = Layout(self._namespace, number).builder
        await pipe.watch(self._current, self._register, builder)
        entry = read_entry(await pipe.hget(self._register, number))
        if await pipe.get(self._current) == number.encode():
            raise GenerationError(
                f"generation {number} is the one that is shown; it cannot be dropped. Show another one before: "
                "`salesfx generations` lists them."
            )
        if entry is None or entry.state is State.DROPPED:
            raise _none(number, [])
        if await pipe.exists(builder):
            raise AnotherAtWorkError(
                f"a rebuild is making generation {number}, or was until a moment ago. End it, and drop the generation in "
                f"{LEASE_SECONDS} seconds."
            )
        return entry

    async def size(self, number: str) -> Size:
        """Count a generation's keys, and estimate what memory they take by some of them."""
        count, sampled, size = 0, 0, 0
        async for keys in self._keys(number):
            count += len(keys)
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in keys[:: max(1, len(keys) // _SAMPLED)]:
                    pipe.memory_usage(key, samples=5)
                sizes = [each for each in await pipe.execute() if each is not None]
            sampled, size = sampled + len(sizes), size + sum(sizes)
        return Size(count, round(size / sampled * count) if sampled else 0)

    async def _keys(self, number: str) -> AsyncIterator[list[bytes]]:
        pattern, cursor = glob_escaped(Layout(self._namespace, number).prefix) + "*", None
        while cursor != 0:
            cursor, keys = await self._redis.scan(cursor or 0, match=pattern, count=_CHUNK)
            if keys:
                yield keys

    async def take_lease(self, number: str, token: str, waiting: Callable[[], None] = lambda: None) -> None:
        """Be the one rebuild that makes a generation; one that has died is waited for.

        Args:
            number: Of the generation.
            token: Of this rebuild.
            waiting: Called once where somebody else has it.

        Raises:
            AnotherAtWorkError: Another is at work.

        """
        builder, seen = Layout(self._namespace, number).builder, None
        while not await self._redis.set(builder, token, nx=True, ex=LEASE_SECONDS):
            before, seen = seen, await self._redis.pttl(builder)
            if before is None:
                waiting()
            elif seen > before:  # it was renewed
                raise at_work(number)
            await asyncio.sleep(LEASE_SECONDS / 10)

    async def renew_lease(self, number: str, token: str) -> None:
        """Say that this rebuild is still at work.

        Raises:
            AnotherAtWorkError: It has not said so for too long, and another took over.

        """

        async def renew(pipe: Any) -> None:
            builder = Layout(self._namespace, number).builder
            await pipe.watch(builder)
            holder = await pipe.get(builder)
            if holder is not None and holder != token.encode():
                raise at_work(number)
            pipe.multi()
            pipe.set(builder, token, ex=LEASE_SECONDS)
            await pipe.execute()

        await self._watching(renew)

    async def end_lease(self, number: str, token: str) -> None:
        """Let the next rebuild begin at once."""

        async def end(pipe: Any) -> None:
            builder = Layout(self._namespace, number).builder
            await pipe.watch(builder)
            if await pipe.get(builder) == token.encode():
                pipe.multi()
                pipe.delete(builder)
                await pipe.execute()

        await self._watching(end)

    async def _watching(self, change: Callable[[Any], Any]) -> Any:
        """Make a change that rests on what it reads; again where that has changed meanwhile."""
        for attempt in range(1, _ATTEMPTS + 1):
            async with self._redis.pipeline(transaction=True) as pipe:
                try:
                    return await change(pipe)
                except WatchError:
                    if attempt == _ATTEMPTS:
                        raise
        raise AssertionError


def behind(ahead: dict[str, int], offsets: dict[str, int]) -> int:
    """Count the events, about, that some offsets lack of others; where they are ahead, that makes up for nothing."""
    return sum(max(0, end - offsets.get(field, 0)) for field, end in ahead.items())


def by_field(ends: dict[tuple[str, int], tuple[int, int]]) -> dict[str, int]:
    """Give the ends of the log by the fields of the offsets."""
    return {partition_field(*at): end for at, (_, end) in ends.items()}


def at_work(number: str) -> AnotherAtWorkError:
    """Say that somebody else makes a generation."""
    return AnotherAtWorkError(
        f"another `salesfx rebuild` is making generation {number}; this one ends and has changed nothing. Wait for the other, "
        "or end it and start this one again: it goes on where that one was."
    )


def _in_state(entry: Entry, state: State) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(entry, state=state))


def _none(number: str, there: list[str]) -> GenerationError:
    which = f" (there are: {', '.join(there)})" if there else ""
    return GenerationError(f"there is no generation {number}{which}. `salesfx generations` lists them.")
