"""Changed definitions applied one after the other, to tell which of them did what.

The tables in between are computed from the records of one view, which hold what each event says; money is priced again
under each.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from salesfx.account import Statement
from salesfx.audit.records import summarise_alone
from salesfx.definitions import RULES_VERSION, Definitions, zone_digest
from salesfx.fold import decode_account, decode_lead
from salesfx.kpi import Cells, account_cells, summarise
from salesfx.lead import ACCOUNT, HOMES, DealFacts, Lead, QuoteFacts
from salesfx.refusal import Refused
from salesfx.rules import Rules
from salesfx.tables.store import View

Monthly = dict[tuple[str, str], int]
"""Totals by (month, field)."""
REST = "rest"
"""What no setting explains: events that are refused under one of the definitions only, or tables that were damaged."""
_AT_ONCE = 4000
_SLICE = 250


class Step(NamedTuple):
    """One setting changed."""

    setting: str
    definitions: Definitions
    """With it, and with those of the steps before."""


def decoded(canonical: bytes) -> Definitions:
    """Read definitions back, with rates in their order."""
    return msgspec.json.decode(canonical, type=Definitions)


def steps(live: bytes, ours: Definitions) -> list[Step]:
    """Go from the live tables' definitions to ours, one setting after the other, in the order of `Definitions`."""
    now, aim = decoded(live), decoded(ours.canonical())
    found = []
    for name in Definitions.__struct_fields__:
        if getattr(now, name) != getattr(aim, name):
            now = msgspec.structs.replace(now, **{name: getattr(aim, name)})
            found.append(Step(name, now))
    return found


def rest_name(live: bytes) -> str:
    """Name what the steps leave: what changed beside the settings, else `REST`.

    The former code and the former time zone database are not there any more to be computed with.
    """
    stored = msgspec.json.decode(live)
    names = []
    if stored.get("rules_version") != RULES_VERSION:
        names.append("rules_version")
    if stored.get("timezone_rules") != zone_digest(stored["timezone"]):
        names.append("timezone_rules")
    return " and ".join(names) or REST


class Recount:
    """The months' totals of all leads and accounts of a view, under several rules at once."""

    def __init__(self, view: View, rules: Sequence[Rules], progress: Callable[[int], None] = lambda _: None) -> None:
        """Make one; `run` reads.

        Args:
            view: The records.
            rules: To compute under; the last are those that the records were made under.
            progress: Told of records that were read.

        """
        self._view = view
        self._rules = rules
        self._progress = progress
        self._also: dict[str, list[str]] = {}
        """Leads that say something about an account under other rules than the last only, and are not in its record."""
        self.totals: list[Monthly] = [{} for _ in rules]

    async def run(self) -> None:
        """Read everything once, and the leads of accounts once more."""
        async for chunk in self._view.scan(*HOMES):
            for number, (ref, content) in enumerate(chunk.items()):
                self._add_lead(ref, content)
                if number % _SLICE == 0:
                    await asyncio.sleep(0)
            self._progress(len(chunk))
        async for chunk in self._view.scan(ACCOUNT):
            leads_of = {
                ref: [*decode_account(content).statements, *self._also.pop(ref, ())] for ref, content in chunk.items()
            }
            await self._add_accounts(leads_of)
            self._progress(len(chunk))
        await self._add_accounts(self._also)

    def _add_lead(self, ref: str, content: bytes) -> None:
        stated: set[str] = set()
        last: Collection[str] = ()
        for rules, totals in zip(self._rules, self.totals, strict=True):
            summary = summarise_alone(ref, _priced(content, rules), rules)
            _add(totals, summary.cells)
            last = summary.statements.keys() - {ref}
            stated |= last
        for account in stated.difference(last):
            self._also.setdefault(account, []).append(ref)

    async def _add_accounts(self, leads_of: Mapping[str, Sequence[str]]) -> None:
        for accounts in _in_pieces(leads_of):
            records = await self._view.read({lead for account in accounts for lead in leads_of[account]})
            for account in accounts:
                contents = [(lead, content) for lead in leads_of[account] if (content := records[lead]) is not None]
                for rules, totals in zip(self._rules, self.totals, strict=True):
                    _add(totals, account_cells(await _statements(account, contents, rules), rules))
            await asyncio.sleep(0)


async def _statements(account: str, contents: Sequence[tuple[str, bytes]], rules: Rules) -> list[Statement]:
    """Give what leads say about an account; there may be thousands, and others want to go on meanwhile."""
    statements = []
    for number, (lead, content) in enumerate(contents, 1):
        said = summarise(lead, _priced(content, rules), rules).statements
        if account in said:
            statements.append(said[account])
        if number % _SLICE == 0:
            await asyncio.sleep(0)
    return statements


def _priced(content: bytes, rules: Rules) -> Lead:
    """Read a lead with the money of its quotes and deals under some rules; without those that they refuse."""
    lead = decode_lead(content)
    for entities in (lead.quotes, lead.deals):
        for key in _without_price(entities, rules):
            del entities[key]
    return lead


def _without_price(entities: Mapping[str, QuoteFacts] | Mapping[str, DealFacts], rules: Rules) -> list[str]:
    refused = []
    for key, facts in entities.items():
        try:
            rules.price(facts)
        except Refused:
            refused.append(key)
    return refused


def _in_pieces(leads_of: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """Put accounts together that have not too many leads."""
    piece: list[str] = []
    leads = 0
    for account, its in leads_of.items():
        if piece and leads + len(its) > _AT_ONCE:
            yield piece
            piece, leads = [], 0
        piece.append(account)
        leads += len(its)
    if piece:
        yield piece


def _add(totals: Monthly, cells: Cells) -> None:
    for (when, field), number in cells.items():
        if len(when) == _DATE:
            cell = when[:7], field
            totals[cell] = totals.get(cell, 0) + number


_DATE = len("2026-10-05")


def monthly(tables: Iterable[tuple[str, Mapping[str, int]]]) -> Monthly:
    """Take the months' totals from tables by their names, like month:2026-10."""
    return {(name.partition(":")[2], field): number for name, table in tables for field, number in table.items()}
