"""The tables computed again from the records of leads and accounts, and the records checked against each other.

Everything is read in chunks and nothing is kept but sums and counts, so that a million leads need no more memory than the
tables have cells. What is missing on one side is found by counting: every entity that a lead holds is looked up, and so
is every statement that it makes; whoever is not held by a lead, or not stated by one, makes the count of the other side
greater, and is then looked for.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from typing import NamedTuple, TypeVar

import msgspec

from salesfx.account import Account, Statement
from salesfx.audit.findings import Findings, note
from salesfx.audit.held import Held, fault_of, held_by
from salesfx.audit.oddities import Oddities
from salesfx.audit.versions import Sink, Version, version_of, version_without_content
from salesfx.fold import decode_account, decode_lead, decode_standing
from salesfx.kpi import Cells, Summary, account_cells, summarise
from salesfx.lead import ACCOUNT, DEAL, HOMES, LEAD, QUOTE, Facts, Lead, Standing
from salesfx.rules import Rules
from salesfx.tables.store import View

_READ_AT_ONCE = 1000
"""Accounts or leads that are in memory together."""

Record = TypeVar("Record")
Progress = Callable[[str, int], None]
"""Told what is being done, and how much of it was done since the last time."""
IMPLAUSIBLE = (ValueError, OverflowError)
"""What computing with a record raises that holds a day or instant of no calendar."""


class _Stated(NamedTuple):
    """What a lead says about an account."""

    account: str
    lead: str
    statement: Statement


class RecordsAudit:
    """One reading of all records of a view."""

    def __init__(self, view: View, rules: Rules, oddities: Oddities, progress: Progress, sink: Sink | None) -> None:
        """Make one; `run` reads.

        Args:
            view: The records.
            rules: The definitions that the tables were made under.
            oddities: Told of what the rules cannot see.
            progress: Told how far it is.
            sink: Told of every entity's version; of some twice, and then first of the one with its content.

        """
        self._view = view
        self._rules = rules
        self._oddities = oddities
        self._progress = progress
        self._sink = sink
        self._held = self._stated = 0
        self._unreadable: set[str] = set()
        self.cells: Cells = {}
        self.checked: dict[str, int] = {}
        self.findings: Findings = {}

    async def run(self) -> None:
        """Read everything once; what is missing somewhere is then looked for in a second reading."""
        for kind in HOMES:
            await self._read_leads(kind)
        if await self._count_living() != self._held:
            await self._find_homeless()
        if await self._read_accounts() != self._stated:
            await self._find_unfounded()

    async def _read_leads(self, kind: str) -> None:
        async for leads in self._records(kind, decode_lead):
            held: list[Held] = []
            stated: list[_Stated] = []
            for ref, lead in leads:
                if lead.own is not None and kind == LEAD:
                    self._tell(ref, lead.own, lead.facts)
                elif lead.own is not None:
                    self._note_unreadable(ref, ValueError("a stand-in has no event of its own"))
                held.extend(held_by(ref, lead))
                summary = self._summary(ref, lead)
                for account, statement in summary.statements.items():
                    self._oddities.note_planned(ref, statement)
                    if account != ref:
                        stated.append(_Stated(account, ref, statement))
            await self._check_held(held)
            await self._check_stated(stated)
            await self._oddities.check_quotes_named(leads, self._view)

    def _summary(self, ref: str, lead: Lead) -> Summary:
        """Work out what a lead contributes, and add to the cells what it does without an account of a name."""
        try:
            summary = summarise_alone(ref, lead, self._rules)
        except IMPLAUSIBLE as error:
            self._note_unreadable(ref, error)
            return Summary({}, {})
        _add(self.cells, summary.cells)
        return summary

    def _tell(self, ref: str, standing: Standing, facts: Facts | None) -> None:
        self._hand_on(ref, lambda: version_of(ref, standing, facts))

    def _hand_on(self, ref: str, version: Callable[[], Version]) -> None:
        if self._sink is not None:
            try:
                self._sink(version())
            except IMPLAUSIBLE as error:
                self._note_unreadable(ref, error)

    async def _check_held(self, held: list[Held]) -> None:
        for some in _pieces(held, _READ_AT_ONCE * 4):
            found = await self._view.read([each.entity for each in some])
            for each in some:
                standing = self._decoded(each.entity, found[each.entity], decode_standing)
                fault = fault_of(each, standing)
                if standing is not None and fault is None:
                    self._held += 1
                    self._tell(each.entity, standing, each.facts)
                elif fault is not None:
                    note(self.findings, fault[0], fault[1], each.entity, each.lead)

    async def _check_stated(self, stated: list[_Stated]) -> None:
        stated.sort(key=lambda each: each.account)
        for some in _pieces(stated, _READ_AT_ONCE):
            accounts = await self._view.read({each.account for each in some})
            current, account = "", Account()
            for each in some:
                if each.account != current:
                    current = each.account
                    account = self._decoded(current, accounts[current], decode_account) or Account()
                theirs = account.statements.get(each.lead)
                if theirs is not None:
                    self._stated += 1
                if theirs == each.statement:
                    continue
                if theirs is None:
                    what = f"{each.account} lacks what {each.lead} says about it: {_in_words(each.statement)}"
                    note(self.findings, "statement_missing", what, each.account, each.lead)
                else:
                    what = (
                        f"{each.account} holds something else than {each.lead} says about it: "
                        f"{_in_words(theirs)}, not {_in_words(each.statement)}"
                    )
                    note(self.findings, "statement_differs", what, each.account, each.lead)

    async def _count_living(self) -> int:
        living = 0
        for kind in (QUOTE, DEAL):
            async for standings in self._records(kind, decode_standing):
                for ref, standing in standings:
                    living += bool(standing.home)
                    if standing.home:
                        self._hand_on(ref, partial(version_without_content, ref, standing))
                    else:
                        self._tell(ref, standing, None)
        return living

    async def _find_homeless(self) -> None:
        """Name the quotes and deals that the lead which they live under does not hold."""
        for kind in (QUOTE, DEAL):
            async for standings in self._records(kind, decode_standing, count=False):
                living = [(ref, standing.home) for ref, standing in standings if standing.home]
                for some in _pieces(living, _READ_AT_ONCE):
                    homes = await self._view.read({home for _, home in some})
                    leads = {home: self._decoded(home, content, decode_lead) for home, content in homes.items()}
                    for ref, home in some:
                        lead, key = leads[home], ref.removeprefix(kind)
                        if lead is None:
                            sentence = f"{ref} lives under {home}, of which there is no record"
                            note(self.findings, "not_held", sentence, ref, home)
                        elif key not in (lead.quotes if kind == QUOTE else lead.deals):
                            note(
                                self.findings,
                                "not_held",
                                f"{ref} lives under {home}, which does not hold it",
                                ref,
                                home,
                            )

    async def _read_accounts(self) -> int:
        stated = 0
        async for accounts in self._records(ACCOUNT, decode_account):
            for ref, account in accounts:
                statements = told_once(account)
                for lead in account.statements.keys() - statements.keys():
                    sentence = (
                        f"{ref} is told of {_in_words(account.statements[lead])} by two leads, one of them {lead}"
                    )
                    note(self.findings, "told_twice", sentence, ref, lead)
                stated += len(account.statements)
                try:
                    _add(self.cells, account_cells(statements.values(), self._rules))
                except IMPLAUSIBLE as error:
                    self._note_unreadable(ref, error)
        return stated

    async def _find_unfounded(self) -> None:
        """Name the statements in accounts that no lead makes."""
        async for accounts in self._records(ACCOUNT, decode_account, count=False):
            stated = [(ref, lead) for ref, account in accounts for lead in account.statements]
            for some in _pieces(stated, _READ_AT_ONCE):
                leads = await self._view.read({lead for _, lead in some})
                for account_ref, ref in some:
                    lead = self._decoded(ref, leads[ref], decode_lead)
                    if ref in self._unreadable:
                        continue
                    if lead is None:
                        sentence = f"{account_ref} holds a statement of {ref}, of which there is no record"
                    elif account_ref not in summarise(ref, lead, self._rules).statements:
                        sentence = f"{account_ref} holds a statement of {ref}, which says nothing about it"
                    else:
                        continue
                    note(self.findings, "statement_unfounded", sentence, account_ref, ref)

    async def _records(
        self, kind: str, decode: Callable[[bytes], Record], *, count: bool = True
    ) -> AsyncIterator[list[tuple[str, Record]]]:
        async for chunk in self._view.scan(kind):
            decoded = ((ref, self._decoded(ref, content, decode)) for ref, content in chunk.items())
            if count:
                self.checked[kind[:-1]] = self.checked.get(kind[:-1], 0) + len(chunk)
            yield [(ref, record) for ref, record in decoded if record is not None]
            self._progress("records", len(chunk))

    def _decoded(self, ref: str, content: bytes | None, decode: Callable[[bytes], Record]) -> Record | None:
        if content is None:
            return None
        try:
            return decode(content)
        except msgspec.MsgspecError as error:
            self._note_unreadable(ref, error)
            return None

    def _note_unreadable(self, ref: str, error: Exception) -> None:
        if ref not in self._unreadable:
            self._unreadable.add(ref)
            note(self.findings, "unreadable", f"the record of {ref} cannot be read: {error}", ref)


def summarise_alone(ref: str, lead: Lead, rules: Rules) -> Summary:
    """Work out what a lead contributes, its sales among it where they belong to no account of a name."""
    summary = summarise(ref, lead, rules)
    own = summary.statements.get(ref)
    if own is not None:
        _add(summary.cells, account_cells([own], rules))
    return summary


def told_once(account: Account) -> dict[str, Statement]:
    """Give an account's statements without those that repeat a deal: damage, with which no category can be worked out."""
    known: set[str] = set()
    once: dict[str, Statement] = {}
    for lead, statement in account.statements.items():
        deals = {deal.deal_id for deal in statement.won}
        if known.isdisjoint(deals):
            known |= deals
            once[lead] = statement
    return once


def _in_words(statement: Statement) -> str:
    entities = [DEAL + deal.deal_id for deal in statement.won] + [QUOTE + quote.quote_id for quote in statement.planned]
    return ", ".join(entities[:5]) + (f" and {len(entities) - 5} more" if len(entities) > 5 else "")  # noqa: PLR2004 - enough to look at


def _pieces(items: list[Record], size: int) -> Iterable[list[Record]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _add(cells: Cells, more: Cells) -> None:
    for cell, number in more.items():
        cells[cell] = cells.get(cell, 0) + number
