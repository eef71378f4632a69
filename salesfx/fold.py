"""One batch of events on its way into the tables: event -> entity -> lead -> account -> cells.

The fold does no I/O. It names the records that it has to read, three times at most, and ends in the records that change
and in what is to be added to the cells:

    fold = Fold(events, rules)
    records = read(fold.first_reads())
    records |= read(fold.homes_left(records))
    fold.merge(records)
    records |= read(fold.accounts())
    outcome = fold.settle(records)
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

import msgspec

from salesfx.account import Account, Statement
from salesfx.decoder import REF_PREFIX, Event
from salesfx.events import EVENT_TYPES, LeadCreated, QuoteSent
from salesfx.kpi import Cells, add_account, add_flow, add_sales
from salesfx.lead import ACCOUNT, MAX_ENTITIES, DealFacts, Facts, Lead, LeadFacts, QuoteFacts, Standing, canonical
from salesfx.refusal import Reason, Refused
from salesfx.rules import Rules

Statements = Mapping[str, Statement]
"""What a lead says about accounts, by the reference of the account."""
_NONE: Statements = {}
Records = Mapping[str, bytes | None]
"""Records by reference, as they are stored; None where there is none."""

_LEAD_TOPIC = LeadCreated.topic
_encode = msgspec.msgpack.Encoder().encode
decode_standing = msgspec.msgpack.Decoder(Standing).decode
decode_lead = msgspec.msgpack.Decoder(Lead).decode
decode_account = msgspec.msgpack.Decoder(Account).decode


class AccountFullError(Exception):
    """A batch would tell one account of more than `MAX_ENTITIES` deals and quotes."""


class TornReadError(Exception):
    """Records contradict each other: they were read at different instants, and changed in between."""


class Rejection(NamedTuple):
    """An event that could not be merged, and why."""

    event: Event
    refused: Refused


class Outcome(NamedTuple):
    """What a batch comes to."""

    writes: dict[str, bytes | None]
    """Records that change, by reference; None where one is to be removed."""
    cells: Cells
    """What is to be added to the cells, without zeros."""
    rejections: list[Rejection]


class Fold:
    """The merge of one batch."""

    def __init__(self, events: Iterable[Event], rules: Rules) -> None:
        self._rules = rules
        self._rejections: list[Rejection] = []
        self.events = [event for event in rules.forget(events) if event.topic == _LEAD_TOPIC or self._is_priced(event)]
        """Those that can be merged."""
        self._records: Records = {}
        self._standings: dict[str, Standing | None] = {}
        self._lived: dict[str, str] = {}
        """By entity that had come before: what it lived under."""
        self._leads: dict[str, Lead] = {}
        self._cells: Cells = {}
        self._before: dict[str, Statements] = {}
        self._after: dict[str, Statements] = {}
        self._came: dict[str, None] = {}
        self._changed: set[str] = set()
        self._told: list[tuple[str, list[str]]] = []
        """Leads that say something else than before, each with the accounts that it is about."""

    def first_reads(self) -> set[str]:
        """Name the records of the batch's entities, and of the leads that they name."""
        refs = {event.ref for event in self.events}
        refs.update(event.standing.home for event in self.events if event.standing.home)
        return refs

    def homes_left(self, records: Records) -> set[str]:
        """Name the leads that are not read yet, and that an entity of the batch may leave or tie under."""
        self._records = records
        for event in self.events:
            if event.topic != _LEAD_TOPIC:
                standing = self._standing(event.ref)
                if standing is not None and standing.home:
                    self._lived[event.ref] = standing.home
        return {home for home in self._lived.values() if home not in records}

    def merge(self, records: Records) -> None:
        """Let the greatest version of each entity stand.

        Raises:
            TornReadError: The records are not of one instant; read again those that have changed.

        """
        self._records = records
        for event in self.events:
            try:
                if event.topic == _LEAD_TOPIC:
                    self._merge_lead(event)
                else:
                    self._merge_entity(event)
            except Refused as refused:
                self._rejections.append(Rejection(event, refused))
        cells, leads, rules = self._cells, self._leads, self._rules
        for ref in self._came:
            add_flow(cells, 1, leads[ref], rules)
        self._after = {ref: self._sales(1, ref, leads[ref]) for ref in self._before}
        self._told = list(self._changed_statements())

    def accounts(self) -> set[str]:
        """Name the accounts of which a lead says something else than before."""
        return {account for _, changed in self._told for account in changed if account.startswith(ACCOUNT)}

    def settle(self, records: Records) -> Outcome:
        """Add up what changes in the cells, and write the records that change.

        Args:
            records: The accounts that `accounts` named, at least.

        Raises:
            AccountFullError: An account would be told of too much; try the batch's events one by one.

        """
        cells, accounts = self._cells, dict[str, Account]()
        for ref, changed in self._told:
            before, after = self._before[ref], self._after[ref]
            for account_ref in changed:
                if account_ref.startswith(ACCOUNT):
                    account = accounts.get(account_ref)
                    if account is None:
                        account = accounts[account_ref] = _account(records[account_ref])
                        add_account(cells, -1, account.statements.values(), self._rules)
                    _state(account, ref, after.get(account_ref))
                else:  # the lead is its own account
                    add_account(cells, -1, _own(before, account_ref), self._rules)
                    add_account(cells, 1, _own(after, account_ref), self._rules)
        writes = {ref: self._written(ref) for ref in self._changed}
        for account_ref, account in accounts.items():
            if account.entities > MAX_ENTITIES:
                raise AccountFullError(account_ref)
            add_account(cells, 1, account.statements.values(), self._rules)
            writes[account_ref] = _encode(account) if account.statements else None
        return Outcome(writes, {cell: number for cell, number in cells.items() if number}, self._rejections)

    def over(self, records: Records) -> Outcome:
        """Go all the way, with every record at hand."""
        self.homes_left(records)
        self.merge(records)
        return self.settle(records)

    def links(self) -> Iterator[tuple[str, str]]:
        """Give pairs of records that events put together: only what is linked decides what an event comes to."""
        for event in self.events:
            yield event.ref, event.standing.home or event.ref
        yield from self._lived.items()
        for ref, changed in self._told:
            for account in changed:
                yield ref, account

    def refs(self) -> set[str]:
        """Name all records that decide what the events come to."""
        return set(chain.from_iterable(self.links()))

    def _changed_statements(self) -> Iterator[tuple[str, list[str]]]:
        for ref, before in self._before.items():
            after = self._after[ref]
            if before or after:
                changed = [
                    account for account in before.keys() | after.keys() if before.get(account) != after.get(account)
                ]
                if changed:
                    yield ref, changed

    def _is_priced(self, event: Event) -> bool:
        try:
            self._rules.price(event.facts)
        except Refused as refused:
            self._rejections.append(Rejection(event, refused))
            return False
        return True

    def _merge_lead(self, event: Event) -> None:
        ref = event.ref
        lead = self._lead(ref)
        order = 1 if lead.own is None else _compare(event, lead.own, lambda: lead.facts)
        if order > 0:
            if lead.quotes or lead.deals:  # else it says nothing of accounts, whatever its own event says
                self._touch(ref, lead)
            if ref not in self._came:
                self._came[ref] = None
                if lead.own is not None:
                    add_flow(self._cells, -1, lead, self._rules)
            facts = event.facts
            lead.facts = facts if isinstance(facts, LeadFacts) else None
        if order > 0 or (order == 0 and lead.own is not None and event.standing.origin < lead.own.origin):
            lead.own = event.standing
            self._changed.add(ref)

    def _merge_entity(self, event: Event) -> None:
        ref, key = event.ref, event.key
        standing = self._standing(ref)
        order = 1 if standing is None else _compare(event, standing, lambda: self._facts(event.topic, key, standing))
        if order > 0:
            self._settle_home(event, standing)
        if order > 0 or (order == 0 and standing is not None and event.standing.origin < standing.origin):
            self._standings[ref] = event.standing
            self._changed.add(ref)

    def _settle_home(self, event: Event, standing: Standing | None) -> None:
        """Put the entity's content under the lead that its version names, and take it from the one it leaves."""
        old, new = "" if standing is None else standing.home, event.standing.home
        facts = event.facts
        if new:
            lead = self._lead(new)
            if new != old and lead.entities >= MAX_ENTITIES:
                raise Refused(
                    Reason.TOO_MANY_ENTITIES, f"{new} has {MAX_ENTITIES} quotes and deals; no further one is merged"
                )
            self._touch(new, lead)
            if isinstance(facts, QuoteFacts):
                lead.quotes[event.key] = facts
            elif isinstance(facts, DealFacts):
                lead.deals[event.key] = facts
        if old and old != new:
            lead = self._lead(old)
            self._touch(old, lead)
            if self._entities(lead, event.topic).pop(event.key, None) is None:
                raise _torn(event.ref, old)

    def _touch(self, ref: str, lead: Lead) -> None:
        self._changed.add(ref)
        if ref not in self._before:
            self._before[ref] = self._sales(-1, ref, lead)

    def _sales(self, sign: int, ref: str, lead: Lead) -> Statements:
        """Add what a lead's quotes and deals make of it; most leads have none."""
        return add_sales(self._cells, sign, ref, lead, self._rules) if lead.quotes or lead.deals else _NONE

    def _lead(self, ref: str) -> Lead:
        lead = self._leads.get(ref)
        if lead is None:
            stored = self._records[ref]
            lead = self._leads[ref] = Lead() if stored is None else decode_lead(stored)
        return lead

    def _standing(self, ref: str) -> Standing | None:
        if ref not in self._standings:
            stored = self._records[ref]
            self._standings[ref] = None if stored is None else decode_standing(stored)
        return self._standings[ref]

    def _facts(self, topic: str, key: str, standing: Standing | None) -> Facts | None:
        if standing is None or not standing.home:
            return None
        facts: Facts | None = self._entities(self._lead(standing.home), topic).get(key)
        if facts is None:
            raise _torn(REF_PREFIX[topic] + key, standing.home)
        return facts

    @staticmethod
    def _entities(lead: Lead, topic: str) -> dict[str, QuoteFacts] | dict[str, DealFacts]:
        return lead.quotes if topic == QuoteSent.topic else lead.deals

    def _written(self, ref: str) -> bytes | None:
        lead = self._leads.get(ref)
        if lead is None:
            return _encode(self._standings[ref])
        return _encode(lead) if lead.own is not None or lead.entities else None


def _compare(event: Event, standing: Standing, facts: Callable[[], Facts | None]) -> int:
    """Order two versions of one entity: 1 where the event's is the greater, -1 where it is not, 0 where they are one.

    Args:
        event: The one that came.
        standing: The one that stands.
        facts: Gives the content of the one that stands, which is asked for in a tie only.

    """
    ours = event.standing
    left = (ours.revision, ours.recorded_at, ours.event_id)
    right = (standing.revision, standing.recorded_at, standing.event_id)
    if left != right:
        return 1 if left > right else -1
    their_facts = facts()
    if (ours.occurred_at, ours.retracted, event.facts) == (standing.occurred_at, standing.retracted, their_facts):
        return 0  # delivered twice
    entity = EVENT_TYPES[event.topic].entity
    our_content = canonical(entity, event.key, ours, event.facts)
    their_content = canonical(entity, event.key, standing, their_facts)
    return (our_content > their_content) - (our_content < their_content)


def _torn(ref: str, home: str) -> TornReadError:
    return TornReadError(f"{ref} lives under {home}, which does not hold it")


def _account(stored: bytes | None) -> Account:
    return Account() if stored is None else decode_account(stored)


def _state(account: Account, ref: str, statement: Statement | None) -> None:
    if statement is None:
        account.statements.pop(ref, None)
    else:
        account.statements[ref] = statement


def _own(statements: Statements, ref: str) -> list[Statement]:
    return [statements[ref]] if ref in statements else []
