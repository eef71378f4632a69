"""The cells of the tables: each rule by itself, over a whole world.

A cell is `(when, "metric|dimension")`: `when` is a local date `YYYY-MM-DD`, and for leads a local hour
`YYYY-MM-DDTHH` as well. Values are integers: counts, and hundredths of the reporting currency.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from typing import NamedTuple

from salesfx.audit.recomputation.event import OWN_ID, Event, read_event, version
from salesfx.audit.recomputation.meaning import local_time
from salesfx.audit.recomputation.refusal import RefusedError
from salesfx.audit.recomputation.world import Home, World, home_of
from salesfx.definitions import Definitions

Cells = dict[tuple[str, str], int]


def recomputed_cells(events: Iterable[tuple[str, bytes]], definitions: Definitions) -> Cells:
    """Compute the cells of all tables. Cells that come to 0 are absent."""
    winners: dict[tuple[str, str], Event] = {}
    for topic, value in events:
        try:
            event = read_event(topic, value, definitions)
        except RefusedError:
            continue  # rule 8: as if it had not come; the version before it stands
        key = (event.topic, event.id)
        if key not in winners or version(event) > version(winners[key]):
            winners[key] = event

    # Rule 8: an entity whose greatest version withdraws it is as if none of its events had come.
    standing = [event for event in winners.values() if not event.retracted]
    return cells_of(World.of(standing, definitions))


def cells_of(world: World) -> Cells:
    """Add up what everything in a world contributes. Cells that come to 0 are absent."""
    cells: Cells = {}
    for when, metric, dimension, amount, _ in contributions(world):
        cell = (when, f"{metric}|{dimension}")
        cells[cell] = cells.get(cell, 0) + amount
    return {cell: amount for cell, amount in cells.items() if amount != 0}


def tables_of(cells: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    """Lay the cells out as the tables have them: by day, the leads by hour, and the totals of each month."""
    tables: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for (when, field), amount in cells.items():
        month, within = when[:7], when[8:]
        if "T" in within:
            tables[f"hours:{month}"][f"{within}|{field}"] = amount
            continue
        tables[f"days:{month}"][f"{within}|{field}"] = amount
        totals = tables[f"month:{month}"]
        totals[field] = totals.get(field, 0) + amount
    return dict(tables)


class Contribution(NamedTuple):
    """What one entity adds to one cell."""

    when: str
    metric: str
    dimension: str
    amount: int
    entity: str  # like deal:D1, for showing


def contributions(world: World) -> Iterator[Contribution]:
    """Give what everything in a world contributes, rule by rule."""
    yield from leads_cells(world)
    yield from qualified_cells(world)
    yield from booked_cells(world)
    yield from new_customer_cells(world)
    yield from planned_cells(world)


def named(event: Event) -> str:
    """Name an entity, for showing."""
    return f"{OWN_ID[event.topic].removesuffix('_id')}:{event.id}"


def named_home(home: Home) -> str:
    """Name a lead, for showing."""
    return f"{home[0]}:{home[1]}"


def leads_cells(world: World) -> Iterator[Contribution]:
    """Rule 1: a lead counts on the date of its creation."""
    for lead in world.leads.values():
        created = local_time(lead.occurred_at, world.definitions)
        source = world.source_of(("lead", lead.id))
        salesperson = lead.salesperson or "unassigned"
        day = created.date().isoformat()
        yield Contribution(day, "leads", f"source={source}", 1, named(lead))
        yield Contribution(day, "leads", f"salesperson={salesperson}", 1, named(lead))
        yield Contribution(created.strftime("%Y-%m-%dT%H"), "leads", f"source={source}", 1, named(lead))


def qualified_cells(world: World) -> Iterator[Contribution]:
    """Rule 2, and the cohort of rule 6, which stands where the qualified lead stands."""
    for home in world.homes():
        quotes = world.qualifying_quotes_of(home)
        if home[0] != "lead" or not quotes:
            continue  # a stand-in is no lead; a lead whose own event has not come is one
        earliest, latest = quotes[0], quotes[-1]
        day = world.local_date(earliest.occurred_at).isoformat()
        won = any(deal.outcome == "won" for deal in world.deals_of(home))
        entity = named_home(home)
        for dimension in (
            f"source={world.source_of(home)}",
            f"salesperson={world.salesperson_of(earliest)}",
        ):
            yield Contribution(day, "qualified_leads", dimension, 1, entity)
            yield Contribution(day, "qualified_leads_value", dimension, latest.hundredths or 0, entity)
            if won:  # by now, whatever its date or category
                yield Contribution(day, "cohort_customers", dimension, 1, entity)


def sales_cells(world: World, metric: str, day: date, category: str, event: Event) -> Iterator[Contribution]:
    """Count one sale by its category, and by its category and salesperson."""
    for dimension in (
        f"category={category}",
        f"category={category},salesperson={world.salesperson_of(event)}",
    ):
        yield Contribution(day.isoformat(), metric, dimension, 1, named(event))
        yield Contribution(day.isoformat(), f"{metric}_value", dimension, event.hundredths or 0, named(event))


def booked_cells(world: World) -> Iterator[Contribution]:
    """Rule 4: deals that are won, on the date they closed."""
    for deal in world.deals:
        if deal.outcome == "won":
            day = world.local_date(deal.occurred_at)
            yield from sales_cells(world, "booked_sales", day, world.category_of_deal(deal), deal)


def new_customer_cells(world: World) -> Iterator[Contribution]:
    """Rule 6: won deals of category new_account, at the deal's date and salesperson and its lead's source."""
    for deal in world.deals:
        if deal.outcome == "won" and world.category_of_deal(deal) == "new_account":
            day = world.local_date(deal.occurred_at).isoformat()
            source, salesperson = world.source_of(home_of(deal)), world.salesperson_of(deal)
            yield Contribution(day, "new_customers", f"source={source}", 1, named(deal))
            yield Contribution(day, "new_customers", f"salesperson={salesperson}", 1, named(deal))


def planned_cells(world: World) -> Iterator[Contribution]:
    """Rule 3: of each lead or stand-in, the latest of the qualifying quotes that are still open."""
    for home in world.homes():
        latest = next((quote for quote in reversed(world.qualifying_quotes_of(home)) if world.is_open(quote)), None)
        if latest is None:
            continue
        day = latest.expected_close_on
        if day is None:
            day = world.local_date(latest.occurred_at) + timedelta(days=world.definitions.sales_cycle_days)
        yield from sales_cells(world, "planned_sales", day, world.category_of_quote(latest), latest)
