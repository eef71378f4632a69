"""A Redis whose answers are late or lost, that is emptied, put back and away, around the twin of the tables."""

import asyncio
import random
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from redis.exceptions import ConnectionError as RedisAwayError

from salesfx.definitions import Definitions
from salesfx.tables import MemoryTables
from salesfx.tables.store import Answer, Commit, Conflict, Snapshot, Versioned, View

Note = Callable[..., None]
_QUICK, _SLOW, _STUCK = 0.02, 0.5, 8.0
"""Longest seconds of a way there or back: usually, sometimes, and of a request that comes after its client gave up."""
_FATES = ("lost", "reply lost", "twice", "late")


class SimulatedRedis:
    """The server. What reaches it is done, whether or not its client still lives."""

    def __init__(self, chance: random.Random, note: Note, fault: Note) -> None:
        self.tables = MemoryTables()
        self.trouble = 0.0
        """Share of the calls that go wrong."""
        self.committed: Callable[[Commit, Answer], None] = lambda _commit, _answer: None
        self.on_its_way = 0
        """Requests that have not come in yet."""
        self._chance, self._note, self._fault = chance, note, fault
        self._away = False
        self._copies: list[dict[str, Any]] = []

    def client(self, name: str) -> "SimulatedTables":
        """Connect a worker."""
        return SimulatedTables(self, self.tables.client(), name)

    def flush(self) -> None:
        """Lose everything."""
        self.tables.data.clear()

    def copy(self) -> None:
        """Take a backup, or let a replica catch up."""
        self._copies.append(_copied(vars(self.tables.data)))

    def restore(self, *, latest: bool) -> bool:
        """Go back to a copy: the latest is a replica that takes over, any other a backup; False where there is none."""
        if not self._copies:
            return False
        copy = self._copies[-1] if latest else self._chance.choice(self._copies)
        held = vars(self.tables.data)
        held.clear()
        held.update(_copied(copy))
        return True

    def go_away(self, away: bool) -> None:
        """Refuse every request from now on, or not any more."""
        self._away = away

    def ask(self, name: str, what: str, do: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Send a request; the future that is given is its answer, or what a client would raise."""
        loop, chance = asyncio.get_running_loop(), self._chance
        answer = loop.create_future()
        fate = chance.choice(_FATES) if self.trouble and chance.random() < self.trouble else ""
        if fate:
            self._note(name, f"{what}: {fate}")
            self._fault(f"redis: request {fate}" if fate != "reply lost" else "redis: reply lost")
        if fate == "lost":
            loop.call_later(self._way(), self._fail, answer, "the request was lost")
            return answer
        arrives = self._way()
        if fate == "late":
            loop.call_later(arrives, self._fail, answer, "no answer in time")
            arrives += chance.random() * _STUCK
        self.on_its_way += 1
        loop.call_later(arrives, self._arrive, name, what, do, answer, fate)
        return answer

    def _arrive(self, name: str, what: str, do: Callable[[], Coroutine[Any, Any, Any]], answer: Any, fate: str) -> None:
        self.on_its_way -= 1
        loop = asyncio.get_running_loop()
        if self._away:
            loop.call_later(self._way(), self._fail, answer, "nobody there")
            return
        try:
            found, error = _at_once(do()), None
        except Exception as raised:  # noqa: BLE001 - the client gets whatever the store raises
            found, error = None, raised
        self._note(name, what, _shown(found) if error is None else error)
        if fate == "reply lost":
            loop.call_later(self._way(), self._fail, answer, "the reply was lost")
        elif fate == "twice":  # the client repeats it by itself, and only the second answer comes back
            self.on_its_way += 1
            loop.call_later(self._way(), self._arrive, name, what, do, answer, "")
        elif error is None:
            loop.call_later(self._way(), _succeed, answer, found)
        else:
            loop.call_later(self._way(), self._raise, answer, error)

    def _way(self) -> float:
        slow = self.trouble and self._chance.random() < self.trouble
        return self._chance.random() * (_SLOW if slow else _QUICK)

    @staticmethod
    def _fail(answer: Any, why: str) -> None:
        if not answer.done():
            answer.set_exception(RedisAwayError(why))

    @staticmethod
    def _raise(answer: Any, error: Exception) -> None:
        if not answer.done():
            answer.set_exception(error)


class SimulatedTables:
    """One worker's connection; see `salesfx.tables.store.Tables` for what each method does."""

    def __init__(self, server: SimulatedRedis, client: MemoryTables, name: str) -> None:
        self._server, self._client, self._name = server, client, name

    async def open(self, definitions: Definitions) -> None:
        """Make the tables ready for commits under these definitions, creating them where there are none."""
        await self._server.ask(self._name, "open", lambda: self._client.open(definitions))

    async def load(self, refs: Collection[str]) -> Versioned:
        """Read records with their versions."""
        found: Versioned = await self._server.ask(self._name, "load", lambda: self._client.load(refs))
        return found

    async def commit(self, commit: Commit) -> Answer:
        """Apply a commit, once."""

        async def apply() -> Answer:
            answer = await self._client.commit(commit)
            self._server.committed(commit, answer)
            return answer

        what = f"commit {', '.join(map(str, commit.ranges))}"
        answer: Answer = await self._server.ask(self._name, what, apply)
        return answer

    async def offsets(self) -> dict[str, int]:
        """Read the stored offsets."""
        found: dict[str, int] = await self._server.ask(self._name, "offsets", self._client.offsets)
        return found

    async def start_at(self, topic: str, partition: int, offset: int) -> int:
        """Store a partition's first offset where none is stored, and give the one that is."""
        what = f"start_at {topic}:{partition}"
        found: int = await self._server.ask(self._name, what, lambda: self._client.start_at(topic, partition, offset))
        return found

    async def log_identity(self, ours: Mapping[str, str]) -> dict[str, str]:
        """Store ids of Kafka's cluster and topics where none are stored, and give those that are."""
        found: dict[str, str] = await self._server.ask(
            self._name, "log_identity", lambda: self._client.log_identity(ours)
        )
        return found

    async def stored_log_identity(self) -> dict[str, str]:
        """Give the ids of Kafka's cluster and topics that are stored, without storing any."""
        found: dict[str, str] = await self._server.ask(self._name, "identity", self._client.stored_log_identity)
        return found

    async def snapshot(self, tables: Collection[str] = ()) -> Snapshot | None:
        """Read tables and everything beside them, atomically."""
        found: Snapshot | None = await self._server.ask(self._name, "snapshot", lambda: self._client.snapshot(tables))
        return found

    def view(self, tables: Collection[str] | None = None) -> AbstractAsyncContextManager[View | None]:
        """Open a view: no worker does, so nothing is simulated."""
        return self._client.view(tables)

    async def check(self) -> None:
        """Refuse a store that could lose what must not be lost."""
        await self._server.ask(self._name, "check", self._client.check)

    async def close(self) -> None:
        """There is nothing to give back."""


def _at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the twin of the tables waits for something")


def _shown(answer: Any) -> object:
    """Show an answer without what differs from process to process: random versions, the order of sets."""
    if isinstance(answer, dict):
        return sorted(answer)
    if isinstance(answer, list):
        return [_shown(each) for each in answer]
    return Conflict(sorted(answer.refs)) if isinstance(answer, Conflict) else answer


def _succeed(answer: Any, found: Any) -> None:
    if not answer.done():
        answer.set_result(found)


def _copied(value: Any) -> Any:
    return {name: _copied(part) for name, part in value.items()} if isinstance(value, dict) else value
