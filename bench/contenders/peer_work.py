"""What the peers written in Python do for an event: the same code for each, over state that is plain JSON.

It is the part of salesfx's work that a user of such a framework would write at least: the greatest version of each entity
stands, a lead with its quotes and deals is one record, and what changes in its contribution is added to a table by month.
Left out: accounts and the categories that follow from their history, planned sales, salespeople, days and hours, entities
that a correction moves to another lead, checks of the fields, dead letters.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

Event = dict[str, Any]
Record = dict[str, Any]
"""A lead: facts by entity, under "lead", "quotes" and "deals"."""

_ZONE = ZoneInfo("Europe/Sofia")
_RECIPIENT_LIMIT = 10
_PER_EURO = {"EUR": Decimal(1), "BGN": Decimal("1.95583")}
_ENTITIES = (("deal_id", "deals"), ("quote_id", "quotes"), ("lead_id", "lead"))


def home(event: Event) -> str:
    """Name the record that an event belongs to."""
    for field in ("lead_id", "quote_id", "deal_id"):
        if event.get(field):
            return f"{field}:{event[field]}"
    raise ValueError("it has no id")


def entity(event: Event) -> tuple[str, str]:
    """Tell what an event is about: the part of the record, and the id in it."""
    for field, part in _ENTITIES:
        if field in event and not (part == "quotes" and "deal_id" in event):
            return part, str(event[field])
    raise ValueError("it has no id")


def merge(record: Record, event: Event) -> bool:
    """Put an event into its lead's record, where its version is the greatest; tell whether it was."""
    part, key = entity(event)
    entities = record.setdefault(part, {})
    version = [
        event.get("revision") or 0,
        _instant(event.get("recorded_at") or event["occurred_at"]),
        event["event_id"],
    ]
    if key in entities and entities[key]["version"] >= version:
        return False
    entities[key] = {"version": version, "at": _instant(event["occurred_at"])} | (
        {"retracted": True} if event.get("retracted") else _facts(part, event)
    )
    return True


def contribution(record: Record) -> Iterator[tuple[str, int]]:
    """Give what a record adds to the table: cells named month|metric|dimension."""
    leads = _standing(record, "lead")
    source = (leads[0].get("source") if leads else None) or "unknown"
    for lead in leads:
        yield f"{_month(lead['at'])}|leads|source={source}", 1
    is_lead = bool(record.get("is_lead"))
    qualifying = sorted((quote for quote in _standing(record, "quotes") if quote["qualifies"]), key=_order)
    if qualifying and is_lead:
        month = _month(qualifying[0]["at"])
        yield f"{month}|qualified_leads|source={source}", 1
        yield f"{month}|qualified_leads_value|source={source}", qualifying[-1]["hundredths"]
    for deal in _standing(record, "deals"):
        if deal["won"]:
            month, category = _month(deal["at"]), deal["category"]
            yield f"{month}|booked_sales|category={category}", 1
            yield f"{month}|booked_sales_value|category={category}", deal["hundredths"]


def changes(record: Record, event: Event) -> dict[str, int]:
    """Merge an event into a record and give what it changes in the table."""
    cells: dict[str, int] = {}
    before = list(contribution(record))
    record["is_lead"] = record.get("is_lead") or home(event).startswith("lead_id:")
    if merge(record, event):
        for cell, number in before:
            cells[cell] = cells.get(cell, 0) - number
        for cell, number in contribution(record):
            cells[cell] = cells.get(cell, 0) + number
    return {cell: number for cell, number in cells.items() if number}


def totals(cells: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Add a table up by metric and month."""
    found: dict[str, dict[str, int]] = {}
    for cell, number in cells.items():
        month, metric, _ = cell.split("|", 2)
        months = found.setdefault(metric, {})
        months[month] = months.get(month, 0) + number
    return {metric: {month: n for month, n in months.items() if n} for metric, months in found.items()}


def _facts(part: str, event: Event) -> Record:
    if part == "lead":
        return {"source": (event.get("source") or "").strip().casefold()}
    if part == "quotes":
        return {
            "key": event["quote_id"],
            "qualifies": bool((event.get("need") or "").strip())
            and (event.get("recipient_count") or 1) <= _RECIPIENT_LIMIT,
            "hundredths": _hundredths(event),
        }
    won = event["outcome"] == "won"
    return {
        "won": won,
        "category": event.get("category") or "new_account",
        "hundredths": _hundredths(event) if won else 0,
    }


def _standing(record: Record, part: str) -> list[Record]:
    return [each for each in record.get(part, {}).values() if "retracted" not in each]


def _order(quote: Record) -> tuple[int, str]:
    return quote["at"], quote["key"]


def _instant(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1_000_000)


def _month(instant: int) -> str:
    return _month_of_quarter(instant // 900_000_000)


@lru_cache(maxsize=200_000)
def _month_of_quarter(quarter: int) -> str:
    return datetime.fromtimestamp(quarter * 900, _ZONE).strftime("%Y-%m")


def _hundredths(event: Event) -> int:
    euros = Decimal(str(event["amount"])) / _PER_EURO[event["currency"]]
    return int((euros * 100).quantize(Decimal(1), ROUND_HALF_UP))
