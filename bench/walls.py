"""What open walls cost: the page's first load from a server just started, and the server's processor time with many walls."""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import click
import psutil

from bench import load
from bench.results import keep, table
from bench.surroundings import progress_bars, servers
from bench.workers import Seen, processor_seconds, serving, wait_until, workers
from salesfx import LeadCreated, Publisher
from salesfx.settings import Settings

_EVERY = 0.5
_SETTLING = 3.0
_KIB, _MIB = 2**10, 2**20


@click.command(short_help="What open walls cost a server.")
@click.option("--events", default=20_000, show_default=True, help="Events in the tables.")
@click.option("--walls", default="0,1,100", show_default=True, help="Walls that are open at once.")
@click.option("--seconds", default=30.0, show_default=True, help="For which each number of walls is open.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Keep the figures here instead.")
def command(events: int, walls: str, seconds: float, file: Path | None) -> None:
    """Load the page from a server just started, then keep walls open while a lead comes every half second.

    So every look of the server at the tables finds something new, and every wall is told of it.
    """
    with servers() as (local, settings, folder), progress_bars() as bars, workers(settings, folder) as (worker,):
        load.publish(settings, load.recent(events, datetime.now(UTC).date()), events, bars)
        seen = Seen(settings)
        wait_until("all events are in", lambda: seen.done() >= events, worker.check)
        with serving(settings) as url:
            figures = asyncio.run(_measured(settings, url, [int(each) for each in walls.split(",")], seconds))
        local.check()
    figures |= {"events": events, "seconds": seconds}
    click.echo(f"kept in {keep('walls', figures, file)}\n")
    click.echo(shown(figures))


async def _measured(settings: Settings, url: str, counts: list[int], seconds: float) -> dict[str, Any]:
    [server] = [each for each in psutil.Process().children() if "serve" in each.cmdline()]
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        loads = [await _page(session, url) for _ in range(2)]
        with Publisher(settings) as publisher:
            publishing = asyncio.create_task(_publish(publisher))
            rows = {str(count): await _with_walls(session, url, server, count, seconds) for count in counts}
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
    return {"page": loads, "walls": rows}


async def _page(session: aiohttp.ClientSession, url: str) -> dict[str, float]:
    begun = time.monotonic()
    async with session.get(url + "/") as response:
        size = len(await response.read())
    return {"ms": (time.monotonic() - begun) * 1000, "bytes": size}


async def _publish(publisher: Publisher) -> None:
    while True:
        now = datetime.now(UTC)
        name = f"wall-{now.timestamp():.6f}"
        publisher.send(LeadCreated(event_id=name, lead_id=name, occurred_at=now, source="bench"))
        await asyncio.to_thread(publisher.flush)
        await asyncio.sleep(_EVERY)


async def _with_walls(
    session: aiohttp.ClientSession, url: str, server: psutil.Process, walls: int, seconds: float
) -> dict[str, float]:
    told: list[int] = []
    """Bytes of the documents that came to any wall."""
    open_walls = [asyncio.create_task(_listen(session, url, told)) for _ in range(walls)]
    await asyncio.sleep(_SETTLING)
    told.clear()
    begun, before = time.monotonic(), processor_seconds(server)
    await asyncio.sleep(seconds)
    share = (processor_seconds(server) - before) / (time.monotonic() - begun)
    resident = server.memory_info().rss
    for wall in open_walls:
        wall.cancel()
    await asyncio.gather(*open_walls, return_exceptions=True)
    documents = len(told) / walls if walls else 0.0
    return {
        "processor": share,
        "resident": resident,
        "documents": documents,
        "bytes": sum(told) / len(told) if told else 0.0,
    }


async def _listen(session: aiohttp.ClientSession, url: str, told: list[int]) -> None:
    """Listen as a page does."""
    async with session.get(url + "/api/wall/events") as response:
        async for line in response.content:
            if line.startswith(b'data: {"at"'):
                told.append(len(line))  # noqa: PERF401 - it never ends, and is counted as it comes


def shown(figures: Mapping[str, Any]) -> str:
    """Write the figures as a sentence and a table."""
    first, second = figures["page"]
    sentence = (
        f"The page's first load, from a server just started, takes {first['ms']:,.0f} ms ({first['bytes'] / _KIB:,.0f} KiB of "
        f"HTML), the second {second['ms']:,.0f} ms.\n\n"
    )
    return sentence + table(
        ("open walls", "of a processor", "the server's memory, MiB", "documents for each wall", "KiB each"),
        [
            (
                walls,
                f"{row['processor']:.1%}",
                f"{row['resident'] / _MIB:,.0f}",
                f"{row['documents']:,.0f} in {figures['seconds']:,.0f} s",
                f"{row['bytes'] / _KIB:,.0f}" if row["bytes"] else "",
            )
            for walls, row in figures["walls"].items()
        ],
    )
