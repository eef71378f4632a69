"""The generations of the tables: whole sets of keys beside each other, of which one is shown.

A rebuild makes a new one beside the live one. Which there are stands in a register; numbers are never used twice, so a
worker of a generation that was dropped can tell that it was.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from enum import StrEnum
from importlib import resources
from typing import Any

import msgspec
from redis.exceptions import WatchError

from salesfx.definitions import Definitions
from salesfx.errors import NeedsAttentionError, SalesfxError
from salesfx.tables.layout import FIRST_GENERATION, Layout, current_key, generations_key, partition_field
from salesfx.tables.store import TablesDamagedError, TablesGoneError
from salesfx.tables.view import glob_escaped, integers

_DROP = resources.files("salesfx.tables").joinpath("drop.lua").read_text(encoding="utf-8")
LEASE_SECONDS = 5
"""A rebuild that has not said for so long that it is at work has died."""
_ATTEMPTS = 5
_CHUNK = 4000
_SAMPLED = 100
"""Of so many keys of a chunk the memory is asked for."""
_SAMPLED_OF_ALL = 10_000
"""Of so many in all: a scan gives keys in the order of their hashes, so the first are as good as any."""


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
    began_under: str = ""
    """Fingerprint that it was begun under: a worker may have added rates since. Empty where that is not known."""
    token: str = ""
    """Of the rebuild's try to begin it, which knows it again by this."""


class Generation(msgspec.Struct, frozen=True):
    """A generation that is there."""

    number: str
    shown: bool
    state: State
    begun: str
    by: str
    began_under: str
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


def new_entry(state: State, by: str, began_under: str = "", token: str = "") -> bytes:
    """Write an entry of the register, of now."""
    return msgspec.json.encode(Entry(state, datetime.now(UTC).isoformat(timespec="seconds"), by, began_under, token))


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
        """List those that are there, the oldest first.

        No transaction: where memory has run out, Redis refuses that even for reading.

        Raises:
            TablesDamagedError: Offsets of the one that is shown are no numbers.
            GenerationError: Those of another are none.

        """
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.get(self._current)
            pipe.hgetall(self._register)
            current, register = await pipe.execute()
        entries = {number.decode(): entry for number, raw in register.items() if (entry := read_entry(raw)) is not None}
        if current is not None:
            entries.setdefault(current.decode(), Entry(State.COMPLETE, "", "worker"))
        numbers = sorted((number for number, entry in entries.items() if entry.state != State.DROPPED), key=int)
        layouts = [Layout(self._namespace, number) for number in numbers]
        async with self._redis.pipeline(transaction=False) as pipe:
            for layout in layouts:
                pipe.hgetall(layout.meta)
                pipe.hgetall(layout.offsets)
            answers = await pipe.execute()
        shown = "" if current is None else current.decode()
        return [
            Generation(
                number,
                number == shown,
                *(entries[number].state, entries[number].begun, entries[number].by, entries[number].began_under),
                fingerprint=meta.get(b"fingerprint", b"").decode(),
                definitions=meta.get(b"definitions", b""),
                offsets=_offsets(number, offsets, is_shown=number == shown),
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

        Raises:
            GenerationError: Another than the live one is shown.

        """
        entry = new_entry(State.BUILDING, "rebuild", definitions.fingerprint, secrets.token_hex(8))

        async def begin(pipe: Any) -> str:
            await pipe.watch(self._current, self._register, Layout(self._namespace, live).log)
            there: dict[bytes, bytes] = await pipe.hgetall(self._register)
            for begun, its in there.items():
                if its == entry:  # by us: the answer to the first try was lost
                    return begun.decode()
            current = await pipe.get(self._current)
            if current != live.encode():
                raise GenerationError(f"{_shown_by_now(current, live)}; nothing was begun. Run it again.")
            register = {live.encode(): new_entry(State.COMPLETE, "worker"), **there}
            number = _next_number(register)
            identity = await pipe.hgetall(Layout(self._namespace, live).log)
            layout = Layout(self._namespace, number)
            pipe.multi()
            pipe.hsetnx(self._register, live, register[live.encode()])
            pipe.hset(self._register, number, entry)
            mapping = {"definitions": definitions.canonical(), "fingerprint": definitions.fingerprint}
            pipe.hset(layout.meta, mapping=mapping)
            if identity:
                pipe.hset(layout.log, mapping=identity)
            await pipe.execute()
            return number

        number: str = await self._watching(begin)
        return number

    async def complete(self, number: str) -> None:
        """Note that a generation can be shown."""

        async def complete(pipe: Any) -> None:
            await pipe.watch(self._register)
            found = await pipe.hget(self._register, number)
            entry = read_entry(found)
            if entry is None or entry.state in GONE:
                raise TablesGoneError(f"generation {number} was dropped")
            pipe.multi()
            pipe.hset(self._register, number, _in_state(found, State.COMPLETE))
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
                    "on with it; with --anyway where these are those of the generation that is shown."
                )
            if current == number.encode():  # perhaps by us: the answer to the first try was lost
                return
            if instead_of is not None and current != instead_of.encode():
                raise GenerationError(
                    f"{_shown_by_now(current, instead_of)}, with which generation {number} was compared; nothing was changed. Run "
                    "it again, or `salesfx generations show` to choose without a comparison."
                )
            pipe.multi()
            pipe.set(self._current, number)
            await pipe.execute()

        await self._watching(show)

    async def drop(self, number: str, progress: Callable[[int], None] = lambda _: None) -> None:
        """Delete a generation; where that is interrupted, it can be done again.

        Args:
            number: Which.
            progress: Told of keys that are deleted.

        Raises:
            GenerationError: It is not there, or it is shown.
            AnotherAtWorkError: A rebuild is making it.

        """
        layout = Layout(self._namespace, number)
        keys = [self._register, layout.meta]
        while True:
            before = await self.check_drop(number)
            dropping = _in_state(before, State.DROPPING)
            if await self._mark([*keys, self._current, layout.builder], [number, before, dropping]):
                break
        async for some in self._keys(number):
            await self._redis.unlink(*some)
            progress(len(some))
        await self._mark(keys, [number, dropping, _in_state(before, State.DROPPED)])

    async def check_drop(self, number: str) -> bytes:
        """See whether a generation can be dropped; raises what `drop` raises.

        Returns:
            What the register says of it.

        """
        found: bytes | None = await self._redis.hget(self._register, number)
        entry = read_entry(found)
        if await self._redis.get(self._current) == number.encode():
            raise GenerationError(
                f"generation {number} is the one that is shown; it cannot be dropped. Show another one before: "
                "`salesfx generations` lists them."
            )
        if found is None or entry is None or entry.state is State.DROPPED:
            raise _none(number, [])
        if await self._redis.exists(Layout(self._namespace, number).builder):
            raise AnotherAtWorkError(
                f"a rebuild is making generation {number}, or was until a moment ago. End it, and drop the generation in "
                f"{LEASE_SECONDS} seconds."
            )
        return found

    async def _mark(self, keys: list[str], arguments: list[str | bytes]) -> bool:
        return bool(await self._redis.eval(_DROP, len(keys), *keys, *arguments))

    async def size(self, number: str) -> Size:
        """Count a generation's keys, and estimate what memory they take by some of them."""
        count, sampled, size = 0, 0, 0
        async for keys in self._keys(number):
            count += len(keys)
            if sampled >= _SAMPLED_OF_ALL:
                continue
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


def _offsets(number: str, stored: dict[bytes, bytes], *, is_shown: bool) -> dict[str, int]:
    try:
        return integers(stored, f"{number}:offsets")
    except TablesDamagedError as error:
        if is_shown:
            raise
        raise GenerationError(
            f"generation {number}, which is not shown, is damaged: its offsets hold what salesfx never writes. `salesfx generations "
            f"drop {number}` deletes it; the others are not touched."
        ) from error


def _in_state(entry: bytes, state: State) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(msgspec.json.decode(entry, type=Entry), state=state))


def _shown_by_now(current: bytes | None, before: str) -> str:
    return f"generation {'none' if current is None else current.decode()} is shown by now, not {before}"


def _none(number: str, there: list[str]) -> GenerationError:
    which = f" (there are: {', '.join(there)})" if there else ""
    return GenerationError(f"there is no generation {number}{which}. `salesfx generations` lists them.")
