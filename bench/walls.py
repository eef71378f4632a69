"""What open walls cost: the page's first load on a server just started, and the server's processor time with 100 walls.

    python -m bench.walls http://127.0.0.1:8000 PID [SECONDS]

of a running `salesfx serve` just started, whose process id is PID. It publishes a lead each half second, to the Kafka of the
settings, so that every look of the server finds something new: never do that to tables that count.
"""

import asyncio
import sys
import time
from datetime import UTC, datetime

import aiohttp
import psutil

from salesfx import LeadCreated, Publisher

WALLS = 100
_EVERY = 0.5


async def _open(session: aiohttp.ClientSession, url: str, told: list[int]) -> None:
    """Listen as a page does, and count the documents and their bytes."""
    async with session.get(url + "/api/wall/events") as response:
        async for line in response.content:
            if line.startswith(b'data: {"at"'):
                told[0] += 1
                told[1] += len(line)


async def _publish(publisher: Publisher) -> None:
    while True:
        now = datetime.now(UTC)
        publisher.send(
            LeadCreated(event_id=f"wall-{now:%s%f}", lead_id=f"wall-{now:%s%f}", occurred_at=now, source="bench")
        )
        await asyncio.to_thread(publisher.flush)
        await asyncio.sleep(_EVERY)


def _spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def measure(url: str, pid: int, seconds: float) -> None:
    """Measure a running server, and print what was found."""
    process = psutil.Process(pid)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        for what in ("first load of the page", "second load"):
            begun = time.monotonic()
            async with session.get(url + "/") as response:
                size = len(await response.read())
            print(f"{what}: {(time.monotonic() - begun) * 1000:.0f} ms, {size / 1024:.0f} KiB")
        with Publisher() as publisher:
            publishing = asyncio.create_task(_publish(publisher))
            await _measure_walls(session, url, process, seconds)
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)


async def _measure_walls(session: aiohttp.ClientSession, url: str, process: psutil.Process, seconds: float) -> None:
    for walls in (0, 1, WALLS):
        told = [0, 0]
        tasks = [asyncio.create_task(_open(session, url, told)) for _ in range(walls)]
        await asyncio.sleep(3)
        told[:] = [0, 0]
        begun, before = time.monotonic(), _spent(process)
        await asyncio.sleep(seconds)
        share = (_spent(process) - before) / (time.monotonic() - begun)
        memory = process.memory_info().rss / 2**20
        print(
            f"{walls} walls: {share:.1%} of a processor, {memory:.0f} MiB, "
            f"{told[0] / max(walls, 1):.0f} documents each in {seconds:.0f} s, {told[1] / max(told[0], 1) / 1024:.0f} KiB each"
        )
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(measure(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 30))  # noqa: PLR2004
