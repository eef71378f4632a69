"""How long `salesfx explain` takes on many leads, and how long it keeps Redis busy.

The records and tables of simulated events are put into a real Redis, without Kafka and a worker; then every metric of one
month is explained, 50 contributions listed, as the command line does it. The sum must be the number that the tables show.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from bench.results import keep, table
from salesfx.decoder import decode
from salesfx.fold import Fold
from salesfx.kpi import CATALOGUE, Cells
from salesfx.lead import LEAD
from salesfx.local import LocalServers
from salesfx.reading import Month, Reader
from salesfx.reading.explanation import Explanation, Question, explain
from salesfx.rules import Rules
from salesfx.settings import Settings
from salesfx.simulator import load
from salesfx.tables import RedisTables, connect
from salesfx.tables.layout import VERSION_BYTES, Layout
from salesfx.tables.store import Commit, Range

_ROUND = 20_000
"""Events after which `load` begins again with other ids: nothing that is folded before is needed after."""
_MONTH = Month(2024, 5)


async def fill(settings: Settings, leads: int) -> int:
    """Put so many leads into Redis; give the number of records."""
    client = connect(settings.redis, timeout=60)
    tables = RedisTables(client, settings.namespace)
    layout, rules, cells = Layout(settings.namespace, "1"), Rules(settings.definitions), Cells()
    await tables.open(settings.definitions)
    await tables.start_at("lead_created", 0, 0)
    events = load(1, 1 << 62)
    filled = written = 0
    while filled < leads:
        records = folded([next(events) for _ in range(_ROUND)], rules, cells)
        filled += sum(ref.startswith(LEAD) for ref in records)
        written += len(records)
        await client.mset({layout.record(ref): bytes(VERSION_BYTES) + record for ref, record in records.items()})
        print(f"\r{filled:,} leads, {written:,} records", end="", file=sys.stderr)
    print(file=sys.stderr)
    await tables.commit(Commit([Range("lead_created", 0, 0, 1)], cells=cells))
    await tables.close()
    return written


def folded(messages: list[tuple[str, bytes, bytes]], rules: Rules, cells: Cells) -> dict[str, bytes]:
    """Fold one round; give its records, and add to the cells."""
    fold = Fold([decode(topic, value) for topic, _, value in messages], rules)
    nothing = dict.fromkeys(fold.first_reads())
    fold.merge(nothing)
    outcome = fold.settle(nothing | dict.fromkeys(fold.accounts()))
    for cell, number in outcome.cells.items():
        cells[cell] = cells.get(cell, 0) + number
    return {ref: record for ref, record in outcome.writes.items() if record is not None}


async def busy(settings: Settings) -> float:
    """Ask Redis for the seconds of its processor so far."""
    client = connect(settings.redis)
    info = await client.info("cpu")
    await client.aclose()
    return float(info["used_cpu_user"] + info["used_cpu_sys"])


async def measure(settings: Settings, leads: int) -> dict[str, Any]:
    """Explain every metric; give the seconds of each, and those of this process's and Redis's processor in them."""
    written, rows = await fill(settings, leads), {}
    for metric in CATALOGUE:
        reader = Reader.connected(settings)
        before, started, ours = await busy(settings), time.perf_counter(), time.process_time()
        answer = await explain(reader, settings, Question(month=_MONTH, metric=metric.name, limit=50))
        took, ours = time.perf_counter() - started, time.process_time() - ours
        rows[metric.name] = {"seconds": took, "own_seconds": ours, "redis_seconds": await busy(settings) - before}
        await reader.close()
        click.echo(f"{metric.name}: {took:.2f} s", err=True)
        if not answer.exact:
            raise SystemExit("the sum is not the number")
        if isinstance(answer, Explanation):
            rows[metric.name]["contributions"] = answer.count
    return {"leads": leads, "records": written, "month": str(_MONTH), "metrics": rows}


@click.command(short_help="How long an explanation takes.")
@click.option("--leads", default=1_000_000, show_default=True, help="Leads in Redis.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Keep the figures here instead.")
def command(leads: int, file: Path | None) -> None:
    """Measure with a Redis of our own."""
    with (
        tempfile.TemporaryDirectory(prefix="salesfx-bench-") as folder,
        LocalServers(Path(folder), kafka=False) as local,
    ):
        figures = asyncio.run(measure(Settings(redis=local.redis), leads))
    click.echo(f"kept in {keep('explain', figures, file)}\n")
    click.echo(shown(figures))


def shown(figures: Mapping[str, Any]) -> str:
    """Write the figures as a table."""
    return table(
        (f"{figures['leads']:,} leads, {figures['month']}", "contributions", "s", "own processor, s", "Redis busy, s"),
        [
            (
                name,
                f"{row['contributions']:,}" if "contributions" in row else "",
                *(f"{row[column]:.2f}" for column in ("seconds", "own_seconds", "redis_seconds")),
            )
            for name, row in figures["metrics"].items()
        ],
    )
