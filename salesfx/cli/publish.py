"""`salesfx publish`: events out of a file of JSON lines."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from salesfx.events import MAX_MESSAGE, TOPICS
from salesfx.kafka_security import quiet_kafka_python
from salesfx.publisher import InvalidEventError, Publisher
from salesfx.refusal import Reason
from salesfx.settings import Settings

MAX_LINE = 2 * MAX_MESSAGE
"""Longest line that is read, in bytes: an event of the largest size, its topic, and room for spaces."""
_KEPT_REFUSALS = 1000
"""Most refusals in the JSON summary; standard error names all of them."""
_BOM = b"\xef\xbb\xbf"

Advance = Callable[[], None]
_lines = msgspec.json.Decoder(dict[str, msgspec.Raw])


@click.command("publish")
@click.argument("file", type=click.File("rb"))
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--feed", help="Name under which a heartbeat is sent every minute; for a standard input that never ends.")
@click.pass_obj
def publish(settings: Settings, file: BinaryIO, as_json: bool, feed: str | None) -> None:
    """Publish the events in FILE to Kafka.

    FILE has one JSON object a line: the event's fields, and `topic`, which says what it is. - is standard input.

    A line that cannot be used is named on standard error with its number; the others are published. Publishing a file
    again is safe: an event counts once however often it comes. Exit status: 0 where all lines were published, 1 where
    some were refused.
    """
    if feed is not None and file is not sys.stdin.buffer:
        raise click.UsageError(
            "--feed is for standard input (-): a file ends, and its feed would then be called silent"
        )
    started = time.monotonic()
    refusals: list[dict[str, Any]] = []
    published = refused = 0
    with (
        quiet_kafka_python(),
        Publisher(settings, feed=feed) as publisher,
        progress_of(file, "events") as (console, advance),
    ):
        for number, line in enumerate(_lines_of(file), start=1):
            advance()
            try:
                event = _split(line)
                if event is None:
                    continue
                publisher.send_json(*event)
                published += 1
            except InvalidEventError as error:
                refused += 1
                console.print(
                    f"line {number}: {error.reason}: {error.detail}", markup=False, highlight=False, soft_wrap=True
                )
                if refused <= _KEPT_REFUSALS:
                    refusals.append({"line": number, "reason": error.reason, "detail": error.detail})
        publisher.flush()
    seconds = time.monotonic() - started
    if as_json:
        summary = {"published": published, "refused": refused, "seconds": round(seconds, 3), "refusals": refusals}
        click.echo(msgspec.json.encode(summary))
    else:
        click.echo(f"{published:,} events published in {seconds:.1f} s, {refused:,} lines refused")
    if refused:
        click.get_current_context().exit(1)


@contextmanager
def progress_of(file: BinaryIO, unit: str) -> Iterator[tuple[Console, Advance]]:
    """Show on a terminal how far a file is read; elsewhere show nothing.

    Args:
        file: What is read; where it cannot be asked for its size there is no bar, only the count.
        unit: What is counted.

    Yields:
        A console for lines that are to stand above the bar, and a function to call at each of what is counted.

    """
    console = Console(stderr=True)
    total, count = _size(file), 0
    columns = (BarColumn(), TaskProgressColumn()) if total else ()
    counted = TextColumn("{task.fields[count]:,} " + unit)
    with Progress(*columns, counted, TimeElapsedColumn(), console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total, count=0)

        def advance() -> None:
            nonlocal count
            count += 1
            if count % 500 == 0:
                progress.update(task, completed=file.tell() if total else 0, count=count)

        yield console, advance
        progress.update(task, completed=total or 0, count=count)


def _size(file: BinaryIO) -> int | None:
    if file is sys.stdin.buffer or not file.seekable():
        return None
    place = file.tell()
    size = file.seek(0, 2)
    file.seek(place)
    return size


def _lines_of(file: BinaryIO) -> Iterator[bytes]:
    """Read lines, of an overlong one only its beginning."""
    while line := file.readline(MAX_LINE + 1):
        rest = line
        while not rest.endswith(b"\n") and len(rest) > MAX_LINE:
            rest = file.readline(MAX_LINE + 1)
        yield line


def _split(line: bytes) -> tuple[str, bytes] | None:
    """Take the topic out of a line; what is left keeps its numbers as they are written. An empty line is None."""
    line = line.removeprefix(_BOM).strip()
    if not line:
        return None
    if len(line) > MAX_LINE:
        raise InvalidEventError("", Reason.TOO_LARGE, f"the line has more than {MAX_LINE} bytes")
    try:
        fields = _lines.decode(line)
        topic = msgspec.json.decode(fields.pop("topic", b"null"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEventError("", Reason.NOT_JSON, f"the line is not a JSON object: {error}") from None
    if topic is None:
        raise InvalidEventError("", Reason.MISSING_FIELD, f"topic: absent; it is one of {', '.join(TOPICS)}")
    return str(topic), msgspec.json.encode(fields)
