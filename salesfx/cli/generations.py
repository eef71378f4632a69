"""`salesfx generations`: the sets of tables beside each other, and which of them is shown."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

import click
import msgspec
from redis.exceptions import RedisError
from rich.console import Console
from rich.progress import Progress, TextColumn

from salesfx.definitions import brings_names_back, differences
from salesfx.errors import SalesfxError
from salesfx.kafka_log import KafkaLog
from salesfx.kafka_security import quiet_kafka_python
from salesfx.settings import Settings
from salesfx.tables import RedisTables, tables_of
from salesfx.tables.away import redis_away
from salesfx.tables.generations import Generation, GenerationError, Size, State, behind, by_field

_Answer = TypeVar("_Answer")


class Listed(msgspec.Struct, frozen=True):
    """One generation, as `--json` tells of it."""

    number: str
    shown: bool
    state: State
    begun: str
    by: str
    differs: list[str]
    """From the settings in force, a sentence each."""
    lag: int | None
    """Events of the log that are not in it; None where Kafka does not answer."""
    keys: int
    bytes: int
    """Roughly."""


@click.group(invoke_without_command=True, short_help="List the sets of tables; show or drop one.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_context
def generations(context: click.Context, *, as_json: bool) -> None:
    """List the generations of the tables: whole sets beside each other, of which readers are shown one."""
    if context.invoked_subcommand is not None:
        return
    settings: Settings = context.obj
    with quiet_kafka_python():
        listed = _asked(settings, lambda tables: _listed(settings, tables))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(listed), indent=2))
        return
    for each in listed:
        _print(each)
    if not listed:
        click.echo("there are no tables yet; the first worker makes them")


@generations.command()
@click.argument("number")
@click.pass_obj
def show(settings: Settings, number: str) -> None:
    """Have readers show generation NUMBER from now on, at once and as a whole; also an older one again."""
    now = _asked(settings, lambda tables: _shown(settings, tables, number))
    click.echo(f"generation {number} is shown now")
    changes = differences(now.definitions, settings.definitions.canonical())
    if changes:
        click.echo(
            f"it is made under other settings than those in force here ({'; '.join(changes)}): workers and servers need its own"
        )


async def _shown(settings: Settings, tables: RedisTables, number: str) -> Generation:
    there = await tables.generations.get(number)
    shown = [each.definitions for each in await tables.generations.all() if each.shown and each.definitions]
    # Where none is shown one has to be chosen, though all of them may be old.
    now = [*shown, settings.definitions.canonical()] if shown else []
    if there.definitions and any(brings_names_back(there.definitions, each) for each in now):
        raise GenerationError(
            f"generation {number} names what is withdrawn since: it is not shown again. `salesfx forget --again` deletes it"
        )
    await tables.generations.show(number)
    return there


@generations.command()
@click.argument("number")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def drop(settings: Settings, number: str, *, yes: bool) -> None:
    """Delete generation NUMBER, which must not be the one that is shown. Where that is interrupted, do it again."""
    _asked(settings, lambda tables: tables.generations.check_drop(number))
    if not yes:
        click.confirm(f"Delete generation {number}? It can only be had again by a rebuild.", abort=True)
    columns = TextColumn("{task.completed:>12,.0f} keys deleted")
    console = Console(stderr=True)
    with Progress(columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("keys", total=None)
        _asked(settings, lambda tables: tables.generations.drop(number, lambda keys: progress.advance(task, keys)))
    click.echo(f"generation {number} is deleted")


async def _listed(settings: Settings, tables: RedisTables) -> list[Listed]:
    ends: dict[str, int] | None
    try:
        ends = by_field(await asyncio.to_thread(KafkaLog(settings).ranges))
    except SalesfxError:
        ends = None
    there = await tables.generations.all()
    return [_told(each, await tables.generations.size(each.number), ends, settings) for each in there]


def _told(each: Generation, size: Size, ends: dict[str, int] | None, settings: Settings) -> Listed:
    return Listed(
        *(each.number, each.shown, each.state, each.begun, each.by),
        differs=differences(each.definitions, settings.definitions.canonical()) if each.definitions else [],
        lag=None if ends is None else behind(ends, each.offsets),
        keys=size.keys,
        bytes=size.bytes,
    )


def _print(each: Listed) -> None:
    lag = "lag unknown, Kafka does not answer" if each.lag is None else f"lag {each.lag:,}"
    begun = f", begun {datetime.fromisoformat(each.begun).astimezone(UTC):%Y-%m-%d %H:%M} UTC" if each.begun else ""
    size = f"{each.keys:,} keys, about {each.bytes / 1e6:,.0f} MB"
    shown = " (shown)" if each.shown else ""
    click.echo(f"{each.number}{shown}: {each.state} by {each.by}{begun}, {lag}, {size}")
    for change in each.differs:
        click.echo(f"     {change}")


def _asked(settings: Settings, ask: Callable[[RedisTables], Awaitable[_Answer]]) -> _Answer:
    async def asked() -> _Answer:
        tables = tables_of(settings)
        try:
            return await ask(tables)
        except (RedisError, OSError) as error:
            raise redis_away(settings.redis, error) from error
        finally:
            await tables.close()

    return asyncio.run(asked())
