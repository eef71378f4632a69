"""How long `salesfx explain` takes on many leads, and how long it keeps Redis busy.

    python -m bench.explain [--leads 1000000]

Puts the records and tables of simulated events into a real Redis, without Kafka and a worker, then explains every metric
of one month, 50 contributions listed, as the command line does it. Prints seconds, and the processor's
seconds of this process and of Redis, for each. The sum must be the number that the tables show.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from salesfx.decoder import decode
from salesfx.fold import Fold
from salesfx.kpi import CATALOGUE, Cells
from salesfx.lead import LEAD
from salesfx.local import LocalServers
from salesfx.reading import Month, Reader
from salesfx.reading.explanation import ConversionExplanation, Explanation, Question, explain
from salesfx.rules import Rules
from salesfx.settings import Settings
from salesfx.simulator import load
from salesfx.tables import RedisTables, connect
from salesfx.tables.layout import VERSION_BYTES, Layout
from salesfx.tables.store import Commit

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
    await tables.commit(Commit("lead_created", 0, 0, 1, cells=cells))
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


def counted(answer: Explanation | ConversionExplanation) -> str:
    """Say how many contributions there were."""
    return f"{answer.count:,} contributions" if isinstance(answer, Explanation) else ""


async def measure(settings: Settings, leads: int) -> None:
    """Explain every metric, and print."""
    written = await fill(settings, leads)
    print(f"{leads:,} leads, {written:,} records; {_MONTH}")
    for metric in CATALOGUE:
        reader = Reader.connected(settings)
        before, started, ours = await busy(settings), time.perf_counter(), time.process_time()
        answer = await explain(reader, settings, Question(month=_MONTH, metric=metric.name, limit=50))
        took, ours = time.perf_counter() - started, time.process_time() - ours
        redis = await busy(settings) - before
        await reader.close()
        print(
            f"{metric.name:22} {took:6.2f} s, of this process {ours:5.2f} s, Redis busy {redis:5.2f} s: {counted(answer)}"
        )
        if not answer.exact:
            raise SystemExit("the sum is not the number")


def main() -> None:
    """Measure with a Redis of our own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--leads", type=int, default=1_000_000)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="salesfx-bench-") as folder,
        LocalServers(Path(folder), kafka=False) as servers,
    ):
        asyncio.run(measure(Settings(redis=servers.redis), options.leads))


if __name__ == "__main__":
    main()
