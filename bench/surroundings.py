"""What every benchmark needs: servers of its own, and a place for the user's eyes."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from salesfx.local import LocalServers
from salesfx.settings import Settings

PARTITIONS = 6


@contextmanager
def servers() -> Iterator[tuple[LocalServers, Settings, Path]]:
    """Run a Kafka and a Redis in a folder that is removed at the end."""
    with (
        tempfile.TemporaryDirectory(prefix="salesfx-bench-") as folder,
        LocalServers(Path(folder) / "servers", kafka_heap_mb=1024) as local,
    ):
        yield local, Settings(kafka=local.kafka, redis=local.redis, partitions=PARTITIONS), Path(folder)


def progress_bars() -> Progress:
    """Show what goes on, on standard error."""
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,.0f} of {task.total:,.0f}")
    return Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True))
