"""How long the tables take to be read: a scrape, a month, the list of months."""

import asyncio
import http.client
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from typing import Any
from urllib.parse import urlsplit

from bench.results import spread, table
from bench.workers import serving
from salesfx.reading import Month, Reader
from salesfx.settings import Settings

_TIMES = 30
_METRICS, _MONTHS = "GET /metrics", "GET /api/months"


def measure(settings: Settings, today: date) -> dict[str, Any]:
    """Time each way of reading, over one connection that is open already, milliseconds from question to whole answer."""
    month = Month.of(today).back(1)
    with serving(settings) as url:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        pages = {page: _Page(connection, page.split()[1]) for page in (_METRICS, _MONTHS, f"{_MONTHS}/{month}")}
        rows = {name: {"ms": spread(page.timed()), "bytes": len(page.body)} for name, page in pages.items()}
        samples = sum(not line.startswith(b"#") for line in pages[_METRICS].body.splitlines())
        connection.close()
    in_process = asyncio.run(_in_process(settings, month))
    return {"samples": samples, "ways": {**rows, "salesfx.reading, a month": {"ms": spread(in_process)}}}


class _Page:
    """One page of the HTTP server."""

    def __init__(self, connection: http.client.HTTPConnection, path: str) -> None:
        self._connection, self._path = connection, path
        self.body = b""

    def timed(self) -> list[float]:
        """Ask for it some times, the first one not counted."""
        return [self._ask() for _ in range(_TIMES + 1)][1:]

    def _ask(self) -> float:
        began = time.perf_counter()
        self._connection.request("GET", self._path)
        answer = self._connection.getresponse()
        self.body = answer.read()
        took = (time.perf_counter() - began) * 1000
        if answer.status != http.client.OK:
            raise SystemExit(f"{self._path} answers {answer.status}: {self.body[:200]!r}")
        return took


async def _in_process(settings: Settings, month: Month) -> list[float]:
    reader = Reader.connected(settings)
    try:
        return [await _milliseconds(lambda: reader.month(month)) for _ in range(_TIMES + 1)][1:]
    finally:
        await reader.close()


async def _milliseconds(read: Callable[[], Awaitable[Any]]) -> float:
    began = time.perf_counter()
    await read()
    return (time.perf_counter() - began) * 1000


def shown(figures: Mapping[str, Any]) -> str:
    """Write the figures as a table."""
    return table(
        (f"{figures['samples']:,} samples in /metrics", "ms (median)", "least to greatest", "KiB"),
        [
            (
                name,
                f"{row['ms']['median']:,.1f}",
                f"{row['ms']['least']:,.1f} to {row['ms']['greatest']:,.1f}",
                f"{row['bytes'] / 1024:,.0f}" if "bytes" in row else "",
            )
            for name, row in figures["ways"].items()
        ],
    )
