"""What commands share that read the log beside the tables: opening both, and showing how far they are."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from salesfx.errors import SalesfxError
from salesfx.event_log import KafkaSource, LogSource
from salesfx.kafka_security import quiet_kafka_python
from salesfx.looking_back import Restated
from salesfx.looking_back.arrivals import READING, REPLAYING, Advance
from salesfx.reading import Reader
from salesfx.settings import Settings
from salesfx.tables import tables_of

_STAGES = {READING: "of the log read", REPLAYING: "later messages folded, one by one"}


class LogDiffersError(SalesfxError):
    """The log adds up to something else than the tables show."""


class TablesAndLog(NamedTuple):
    """The tables, and the log that they are made from."""

    reader: Reader
    log: LogSource


@asynccontextmanager
async def tables_and_log(settings: Settings) -> AsyncIterator[TablesAndLog]:
    """Open both; nothing is sent before they are read."""
    tables = tables_of(settings)
    reader = Reader(tables, settings)
    try:
        yield TablesAndLog(reader, KafkaSource(settings, tables))
    finally:
        await reader.close()


@contextmanager
def log_progress() -> Iterator[Advance]:
    """Show on a terminal how far it is; elsewhere show nothing."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.completed:>12,.0f} {task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with (
        quiet_kafka_python(),
        Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress,
    ):

        def advance(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(_STAGES[stage], total=total)
            progress.advance(tasks[stage], done)

        yield advance


def refuse_difference(answer: Restated) -> None:
    """End with an error where the log adds up to something else than the tables show.

    Raises:
        LogDiffersError: It does.

    """
    if not answer.agrees:
        raise LogDiffersError(
            f"the tables show other numbers for {answer.month} than the log adds up to. `salesfx audit --from-log --month "
            f"{answer.month}` names the cells and who is behind them, and docs/audit.md says what to do."
        )
