"""How long `salesfx audit` takes, and how much memory, on a million leads.

    python -m bench.audit [--events 1360000]

Publishes simulated events to a real Kafka once, lets a real worker make the tables, then runs the command without and with
--from-log, each in a process of its own. Prints seconds and the peak of the process's memory.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from bench.throughput import publish
from bench.worker import running_worker
from salesfx.kafka_log import KafkaLog
from salesfx.local import LocalServers
from salesfx.settings import Settings
from salesfx.tables import tables_of

_POLL_SECONDS = 0.5
_MEBIBYTE = 1024


async def make_tables(settings: Settings, environ: dict[str, str], events: int) -> None:
    """Let a worker take everything to the tables."""
    tables = tables_of(settings)
    try:
        with running_worker(environ) as check:
            while sum((await tables.offsets()).values()) < events:
                check()
                await asyncio.sleep(_POLL_SECONDS)
    finally:
        await tables.close()


def measure(environ: dict[str, str], *options: str) -> None:
    """Run one audit in a process that notes its own peak of memory."""
    started = time.perf_counter()
    program = (
        "import atexit, resource, sys\n"
        "atexit.register(lambda: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr))\n"
        "from salesfx.cli import main\nmain()\n"
    )
    command = [sys.executable, "-c", program, "audit", "--json", *options]
    done = subprocess.run(command, env=environ, capture_output=True, check=False)
    seconds = time.perf_counter() - started
    report = msgspec.json.decode(done.stdout)
    peak = int(done.stderr.split()[-1]) / _MEBIBYTE
    found = "agrees" if report["agrees"] else "DIFFERS"
    print(f"audit {' '.join(options):10}: {seconds:6.1f} s, peak {peak:,.0f} MiB, {found}, {report['checked']}")


def main() -> None:
    """Measure with servers of our own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_360_000)
    events = parser.parse_args().events
    with tempfile.TemporaryDirectory(prefix="salesfx-bench-") as folder, LocalServers(Path(folder)) as servers:
        settings = Settings(kafka=servers.kafka, redis=servers.redis)
        environ = {
            **os.environ,
            "SALESFX_KAFKA": servers.kafka,
            "SALESFX_REDIS": servers.redis,
            "SALESFX_WATCHDOG_SECONDS": "3600",  # other work on the machine must not end the worker
        }
        KafkaLog(settings).ensure_topics()
        print(f"publishing {events:,} events", file=sys.stderr)
        asyncio.run(publish(settings, events))
        print("making the tables", file=sys.stderr)
        asyncio.run(make_tables(settings, environ, events))
        measure(environ)
        measure(environ, "--from-log")


if __name__ == "__main__":
    main()
