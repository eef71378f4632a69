"""`salesfx show`: the state of one lead, quote, deal or account."""

import asyncio
from collections.abc import Iterable, Iterator

import click
import msgspec
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from salesfx.cli.explain import print_contribution
from salesfx.reading import Reader
from salesfx.reading.shown import grouped, printable
from salesfx.reading.state import KINDS, Contributed, Entity, Sale, State, state
from salesfx.settings import Settings

_SHOWN = 50


@click.command("show", short_help="Show the state of a lead, quote, deal or account.")
@click.argument("kind", type=click.Choice(KINDS), metavar="lead|quote|deal|account")
@click.argument("key", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="For machines: see docs/explain.md.")
@click.pass_obj
def show(settings: Settings, *, kind: str, key: str, as_json: bool) -> None:
    """Show the state of a lead, quote, deal or account: which version stands, and what it contributes to.

    ID is the CRM's, exactly. Exit status 1 where there is no such entity.
    """
    found = asyncio.run(_asked(settings, kind, key))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
    else:
        _print(found, Console())


async def _asked(settings: Settings, kind: str, key: str) -> State:
    reader = Reader.connected(settings)
    try:
        return await state(reader, settings, kind, key)
    finally:
        await reader.close()


def _print(found: State, console: Console) -> None:
    console.print(Text(f"{found.kind} {found.id}", "bold"), soft_wrap=True)
    if found.entity is not None:
        _indented(_entity_lines(found.entity), console)
    if found.accounts:
        _indented([f"account {', '.join(found.accounts)}"], console)
    around = [] if found.lead is None else [found.lead]
    around += [each for each in (*found.quotes, *found.deals) if (each.kind, each.id) != (found.kind, found.id)]
    for entity in around[:_SHOWN]:
        console.print(Text(f"\n{_heading(entity, found)}", "bold"), soft_wrap=True)
        _indented(_entity_lines(entity), console)
    for sale in found.sales[:_SHOWN]:
        console.print(Text(f"\n{sale.date}  {sale.kind} {sale.id}  {grouped(sale.value)}", "bold"), soft_wrap=True)
        _indented(_sale_lines(sale), console)
    more = max(0, len(around) - _SHOWN) + max(0, len(found.sales) - _SHOWN)
    if more:
        console.print(Text(f"\n{more:,} more are not listed; --json lists all", "italic"))
    _print_contributions(found, console)


def _print_contributions(found: State, console: Console) -> None:
    if not found.contributes:
        console.print(Text("\nIt contributes to no number.", "bold"))
        return
    console.print(Text("\nWhat it contributes to, or decides:", "bold"))
    together = _counted_together(found.contributes)
    for contributed in together[:_SHOWN]:
        for each in contributed:
            console.print(Text(f"\n{each.metric} of {each.month}: {grouped(str(each.number))}", "bold"), end="")
        print_contribution(contributed[0], console)
    if len(together) > _SHOWN:
        console.print(Text(f"\n{len(together) - _SHOWN:,} more are not listed; --json lists all", "italic"))


def _counted_together(contributions: Iterable[Contributed]) -> list[list[Contributed]]:
    """Put those side by side that are about the same thing for the same reasons, like a count and its value."""
    groups: dict[object, list[Contributed]] = {}
    for each in contributions:
        groups.setdefault((each.kind, each.id, each.date, each.category, tuple(each.why)), []).append(each)
    return list(groups.values())


def _heading(entity: Entity, found: State) -> str:
    if entity.kind == "lead":
        return f"under lead {entity.id}"
    return f"{'its' if found.kind == 'lead' else 'beside it:'} {entity.kind} {entity.id}"


def _entity_lines(entity: Entity) -> Iterator[str]:
    version = entity.version
    if version is None:
        yield "its own event has not come; quotes or deals name it"
        return
    if version.retracted:
        yield "retracted: as if none of its events had come"
    yield (
        f"version: revision {version.revision}, recorded_at {version.recorded_at}, event_id {version.event_id}, "
        f"occurred_at {version.occurred_at} (local date {entity.date})"
    )
    yield f"event at {version.topic}[{version.partition}]@{version.offset}"
    if entity.lives_in is not None:
        yield f"lives in {entity.lives_in}"
    if entity.qualifies is not None:
        yield "qualifies" if entity.qualifies else "does not qualify: it names no need, or went to too many people"
    if entity.fields:
        yield ", ".join(f"{name} {printable(str(value))}" for name, value in entity.fields.items())


def _sale_lines(sale: Sale) -> Iterator[str]:
    decided = "" if sale.decided_by is None else f", by the coverage of {sale.decided_by}"
    yield sale.category.replace("_", " ") + decided
    if sale.covers_until is not None:
        yield f"covers until {sale.covers_until}"
    if sale.expected_on is not None:
        yield f"open quote, expected to close on {sale.expected_on}"
    yield f"lives in {sale.lives_in}"


def _indented(lines: Iterator[str] | list[str], console: Console) -> None:
    console.print(Padding(Text("\n".join(lines)), (0, 0, 0, 2), expand=False))
