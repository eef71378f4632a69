"""Who is behind the cells that differ: a second reading of the records, for these cells only."""

from collections.abc import Callable, Iterable
from contextlib import suppress

import msgspec

from salesfx.account import NEW_ACCOUNT, Statement, WonDeal, categorised
from salesfx.audit.comparison import Cell, Comparison
from salesfx.audit.records import IMPLAUSIBLE, Progress, Record, told_once
from salesfx.business_time import iso_day
from salesfx.fold import decode_account, decode_lead
from salesfx.kpi import summarise
from salesfx.lead import ACCOUNT, DEAL, HOMES, QUOTE, Lead
from salesfx.rules import Rules
from salesfx.tables.store import View


async def name_entities(comparison: Comparison, view: View, rules: Rules, progress: Progress) -> None:
    """Name the leads, deals and quotes that the records count in the cells that differ.

    Args:
        comparison: Of the tables with the records.
        view: The same one.
        rules: The definitions that the tables were made under.
        progress: Told how far it is.

    """
    for kind in HOMES:
        async for chunk in view.scan(kind):
            for ref, content in chunk.items():
                lead = _readable(content, decode_lead)
                if lead is not None:
                    with suppress(*IMPLAUSIBLE):  # named too
                        _note_lead(comparison, ref, lead, rules)
            progress("behind", len(chunk))
    async for chunk in view.scan(ACCOUNT):
        for content in chunk.values():
            account = _readable(content, decode_account)
            if account is not None:
                with suppress(*IMPLAUSIBLE):
                    _note_sales(comparison, told_once(account).values(), rules)
        progress("behind", len(chunk))


def _readable(content: bytes, decode: Callable[[bytes], Record]) -> Record | None:
    try:
        return decode(content)
    except msgspec.MsgspecError:  # the first reading has named it
        return None


def _note_lead(comparison: Comparison, ref: str, lead: Lead, rules: Rules) -> None:
    summary = summarise(ref, lead, rules)
    comparison.note(ref, summary.cells)
    if ref in summary.statements:
        _note_sales(comparison, [summary.statements[ref]], rules)


def _note_sales(comparison: Comparison, statements: Iterable[Statement], rules: Rules) -> None:
    for item, category, _ in categorised(statements):
        by_category = (f"category={category}", f"category={category},salesperson={item.salesperson}")
        if isinstance(item, WonDeal):
            when = rules.time.local(item.occurred_at).date
            cells = _sale(when, "booked_sales", by_category)
            if category == NEW_ACCOUNT:
                cells.append((when, f"new_customers|source={item.source}"))
                cells.append((when, f"new_customers|salesperson={item.salesperson}"))
            comparison.note(DEAL + item.deal_id, cells)
        else:
            comparison.note(QUOTE + item.quote_id, _sale(iso_day(item.expected_day), "planned_sales", by_category))


def _sale(when: str, metric: str, dimensions: Iterable[str]) -> list[Cell]:
    return [(when, f"{name}|{dimension}") for name in (metric, f"{metric}_value") for dimension in dimensions]
