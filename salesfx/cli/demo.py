"""`salesfx demo`."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from salesfx.cli.up import run_stack
from salesfx.errors import NeedsAttentionError, SalesfxError
from salesfx.local.folder import prepare
from salesfx.local.stack import LocalStack
from salesfx.publisher import Publisher
from salesfx.settings import Settings
from salesfx.simulator import SimulatedEvent, simulate

HISTORY = timedelta(days=730)
LEADS_PER_MONTH = 1000
_HELD_BACK, _PLAYED_IN = 8, timedelta(minutes=2)
"""The last events of the history are played in two minutes, so that there is something to see at once. More of them would be
missed by the alarm of the lead flow."""
_SAVED_EVERY = 50
_PAUSE_SECONDS = 1.0


class _Story(msgspec.Struct):
    """What the simulated team is, and how much of its story has been published; kept in the data folder."""

    seed: int
    leads_per_month: int
    origin: datetime
    published_until: datetime

    def events(self) -> Iterator[SimulatedEvent]:
        """Give what was not published yet. Whatever is published twice changes nothing."""
        for event in simulate(self.seed, self.origin, leads_per_month=self.leads_per_month):
            if event.published_at >= self.published_until:
                yield event


@click.command(short_help="As up, with a simulated sales team's events.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("salesfx-data/demo"),
    show_default=True,
    help="Folder of everything that is kept.",
)
@click.option("--port", type=click.IntRange(0, 65535), help="HTTP port; default: the settings', or a free one.")
@click.option("--seed", type=int, default=1, show_default=True, help="Which team is simulated.")
@click.option("--leads-per-month", type=click.IntRange(10, 50_000), default=LEADS_PER_MONTH, show_default=True)
@click.pass_obj
def demo(settings: Settings, data: Path, port: int | None, seed: int, leads_per_month: int) -> None:
    """As `up`, with two years of a simulated sales team's events published, and events going on live."""
    file = prepare(data) / "demo.json"
    story = _load(file, seed, leads_per_month)
    run_stack(settings, data, port, lambda stack, stopping: _publish(stack, stopping, file, story))


def _publish(stack: LocalStack, stopping: threading.Event, file: Path, story: _Story) -> threading.Thread:
    """Publish the history, and give the thread that goes on with the live events."""
    start = datetime.now(UTC)
    events = story.events()
    with ExitStack() as closing:
        publisher = closing.enter_context(Publisher(stack.settings))
        count, held = _publish_history(publisher, events, story, start)
        publisher.flush()
        _save(file, story)
        closing_later = closing.pop_all()
    click.echo(f"published {count} events; live ones follow. Look at {stack.url}/ or run")
    click.echo(f"  curl {stack.url}/api/months/{start:%Y-%m}")

    def live() -> None:
        with closing_later:
            _publish_live(publisher, chain(held, events), story, stopping, _Pace(start, held[0].published_at), file)

    thread = threading.Thread(target=_reporting(live), name="salesfx-demo", daemon=True)
    thread.start()
    return thread


def _publish_history(
    publisher: Publisher, events: Iterator[SimulatedEvent], story: _Story, until: datetime
) -> tuple[int, Sequence[SimulatedEvent]]:
    """Publish what lies before a moment, but for the last events; give how many, and those that were taken and not published."""
    count = 0
    held: deque[SimulatedEvent] = deque()
    columns = (
        TextColumn("publishing two years"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("days"),
        TimeElapsedColumn(),
    )
    begin = story.published_until
    days = max((until - begin).days, 0)
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("days", total=days)
        for event in events:
            held.append(event)
            if event.published_at >= until:
                break
            if len(held) > _HELD_BACK:
                oldest = held.popleft()
                publisher.send_dict(oldest.topic, oldest.event)
                count += 1
                story.published_until = oldest.published_at
                progress.update(bar, completed=min((oldest.published_at - begin).days, days))
        progress.update(bar, completed=days)
    return count, held


def _publish_live(
    publisher: Publisher,
    events: Iterator[SimulatedEvent],
    story: _Story,
    stopping: threading.Event,
    pace: "_Pace",
    file: Path,
) -> None:
    for number, event in enumerate(events, 1):
        due = pace.due(event.published_at)
        while not stopping.is_set() and datetime.now(UTC) < due:
            stopping.wait(min(_PAUSE_SECONDS, max((due - datetime.now(UTC)).total_seconds(), 0)))
        if stopping.is_set():
            break
        publisher.send_dict(event.topic, event.event)
        publisher.flush()
        story.published_until = event.published_at
        if number % _SAVED_EVERY == 0:
            _save(file, story)
    _save(file, story)


class _Pace(NamedTuple):
    """When live events are published."""

    start: datetime
    held_since: datetime
    """Moment of the first event that was held back."""

    def due(self, published_at: datetime) -> datetime:
        """Tell when: what was held back is played in the first minutes, all else at its own moment."""
        if published_at >= self.start + _PLAYED_IN:
            return published_at
        share = _PLAYED_IN / max(self.start + _PLAYED_IN - self.held_since, _PLAYED_IN)
        return self.start + max((published_at - self.held_since) * share, timedelta())


def _load(file: Path, seed: int, leads_per_month: int) -> _Story:
    """Read the folder's story, or begin one there: written down before its first event, since its origin is today's."""
    if not file.exists():
        if (file.parent / "kafka").exists():
            raise NeedsAttentionError(
                f"{file.parent} holds events that are not a demo's, and simulated ones would be mixed with them for good; "
                "give another --data"
            )
        origin = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - HISTORY
        story = _Story(seed, leads_per_month, origin, origin)
        _save(file, story)
        return story
    try:
        story = msgspec.json.decode(file.read_bytes(), type=_Story)
    except msgspec.DecodeError as error:
        raise NeedsAttentionError(f"{file} cannot be read ({error}); delete its folder to begin a new demo") from error
    if (story.seed, story.leads_per_month) != (seed, leads_per_month):
        raise NeedsAttentionError(
            f"{file.parent} holds the story of seed {story.seed} with {story.leads_per_month} leads a month; give another "
            "--data for another one"
        )
    return story


def _save(file: Path, story: _Story) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(story))
    fresh.replace(file)


def _reporting(run: Callable[[], None]) -> Callable[[], None]:
    def reported() -> None:
        try:
            run()
        except SalesfxError as error:
            click.echo(f"the demo's events stopped: {error}", err=True)

    return reported
