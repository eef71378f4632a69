"""Two hundred thousand events, a worker that is killed again and again, a Redis that forgets: not one number differs."""

import asyncio
import math
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from salesfx.local import LocalServers
from tests.worker_process import Message, Site, WorkerProcess, eventually, expected, simulated

EVENTS = 200_000
UNUSABLE = 200
"""How many of them are to be refused."""
KILLS = 5
"""Of the worker; and one of Redis, which loses what it wrote last."""
APART = 20_000
"""Most events that are taken between one kill and the next: all of them happen in the midst of the work."""
PATIENCE = 300.0


class Supervised:
    """A worker that is started again whenever it ends, as `up` or systemd do it."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._current: WorkerProcess | None = None
        self._task = asyncio.create_task(self._run())
        self.statuses: list[int] = []
        """Of those that have ended."""

    async def _run(self) -> None:
        while True:
            with self._site.worker() as worker:
                self._current = worker
                status = await worker.ended(math.inf)
                self.statuses.append(status)
                if status != -signal.SIGKILL:
                    print(f"a worker ended with {status}: {worker.sentence}")  # noqa: T201
                assert status != 2, f"somebody has to do something: {worker.sentence}"

    def check(self) -> None:
        """Fail where workers are not started again."""
        if self._task.done():
            self._task.result()

    def kill(self) -> None:
        """Kill -9 the one that runs."""
        assert self._current is not None
        self._current.signal(signal.SIGKILL)

    async def stop(self) -> None:
        """Run no further one."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@asynccontextmanager
async def supervised(site: Site) -> AsyncIterator[Supervised]:
    """Keep a worker running."""
    supervisor = Supervised(site)
    try:
        yield supervisor
    finally:
        await supervisor.stop()


async def taken(site: Site) -> int:
    """Tell how many events have come to the tables or to the dead letters; none where there is no Redis now."""
    counters = await site.counters()
    return sum(number for name, number in counters.items() if name.startswith(("processed|", "rejected|")))


def lose_the_latest(servers: LocalServers, chance: random.Random) -> None:
    """Cut the end off what Redis has written down, as a power cut does: it forgets commits that it has acknowledged."""
    logs = (servers.redis_process.folder / "data" / "appendonlydir").glob("*.incr.aof")
    log = max(logs, key=lambda file: file.stat().st_mtime_ns)
    size = log.stat().st_size
    lost = chance.randint(0, size // 4)
    print(f"it loses {lost} of {size} bytes")  # noqa: T201
    os.truncate(log, size - lost)


def load_with_unusable_ones(chance: random.Random) -> list[Message]:
    """Give the simulated load, with some events among it that must be refused."""
    messages = simulated(20_261_123, EVENTS - UNUSABLE)
    for number in range(UNUSABLE):
        topic = chance.choice(messages).topic
        messages.insert(chance.randrange(len(messages)), Message(topic, b'{"event_id": "%d"}' % number))
    return messages


@pytest.mark.slow
async def test_kills_change_no_number(tmp_path: Path) -> None:
    """With the worker killed five times and Redis once while they work, tables, offsets and counters come out exact."""
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")  # noqa: T201
    chance = random.Random(seed)
    messages = load_with_unusable_ones(chance)
    faults = ["worker"] * KILLS + ["Redis"]
    chance.shuffle(faults)
    with LocalServers(tmp_path / "data") as servers:
        site = Site(servers.kafka, servers.redis, "load")
        await site.make_topics()
        async with supervised(site) as workers:
            publishing = asyncio.create_task(site.publish(messages))
            for fault in faults:
                goal = await taken(site) + chance.randint(1, APART)

                async def reached(goal: int = goal) -> bool:
                    workers.check()
                    return await taken(site) >= goal

                await eventually(f"{goal} events are taken", reached, PATIENCE)
                print(f"{fault} is killed with {await taken(site)} events taken")  # noqa: T201
                if fault == "worker":
                    workers.kill()
                else:
                    await asyncio.to_thread(servers.redis_process.kill)
                    lose_the_latest(servers, chance)
                    await asyncio.to_thread(servers.redis_process.start)
            places = await publishing
            assert len(places) == EVENTS
            await site.caught_up(seconds=PATIENCE)
            workers.check()
            assert workers.statuses.count(-signal.SIGKILL) == KILLS
        counters = await site.counters()
        rejected = sum(number for name, number in counters.items() if name.startswith("rejected|"))
        assert (await taken(site), rejected) == (EVENTS, UNUSABLE)
        assert await site.offsets() == await site.ends()
        cells, reference = await site.cells(), await asyncio.to_thread(expected, messages)
        differing = {cell for cell in cells.keys() | reference.keys() if cells.get(cell) != reference.get(cell)}
        assert sorted(differing)[:20] == []
        assert len(reference) > 10_000
