"""The state of one lead, quote, deal or account, and what it contributes to.

The types are the JSON of `salesfx show --json`; docs/explain.md tells of it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from salesfx.account import PlannedQuote, WonDeal, categorised
from salesfx.attribution import Contribution, of_account, of_lead
from salesfx.business_time import iso_day, iso_instant
from salesfx.errors import SalesfxError
from salesfx.fold import decode_account, decode_lead, decode_standing
from salesfx.kpi import summarise
from salesfx.language import Language
from salesfx.lead import ACCOUNT, DEAL, LEAD, QUOTE, DealFacts, Lead, LeadFacts, QuoteFacts, Standing
from salesfx.money import decimal_string
from salesfx.reading.explanation import Shower, Shown, in_units, is_text, of_own_account, split
from salesfx.reading.reader import Reader, with_views
from salesfx.rules import Rules
from salesfx.settings import Settings
from salesfx.tables.store import View

KINDS = ("lead", "quote", "deal", "account")
_DAYS = ("expected_close_on", "contract_ends_on")


class UnknownEntityError(SalesfxError):
    """No event that stands has spoken of it."""


class Version(msgspec.Struct, frozen=True):
    """The version that stands: the greatest by revision, recorded_at and event_id, in this order."""

    revision: int
    recorded_at: str
    event_id: str
    occurred_at: str
    retracted: bool
    topic: str
    partition: int
    offset: int


class Entity(msgspec.Struct, frozen=True):
    """A lead, quote or deal."""

    kind: str
    id: str
    version: Version | None
    """None for a lead whose own event has not come."""
    date: str | None
    """Local date of its occurred_at."""
    lives_in: str | None
    """Reference of the lead or stand-in that a quote or deal lives in; None where it is retracted, or a lead."""
    fields: dict[str, Any]
    """What its event says, normalised; `value` is the amount in the reporting currency."""
    qualifies: bool | None = None
    """Of a quote: whether it answers a need and is no bulk mail."""


class Sale(msgspec.Struct, frozen=True):
    """A won deal or planned quote of an account."""

    kind: str
    id: str
    lives_in: str
    date: str
    """Local date of closing or sending."""
    value: str
    category: str
    decided_by: str | None
    """Id of the deal whose coverage decided the category."""
    covers_until: str | None
    """Of a won deal: the last local date that it covers."""
    expected_on: str | None
    """Of a planned quote."""
    crm_category: str | None = None


class Contributed(Shown, frozen=True):
    """What it contributes to, or decides."""

    month: str
    metric: str


class State(msgspec.Struct, frozen=True):
    """Everything about one entity. Lists that do not belong to its kind are empty."""

    kind: str
    id: str
    currency: str
    entity: Entity | None
    """None for an account."""
    lead: Entity | None
    """The lead that a quote or deal lives under; None where it has none."""
    accounts: list[str]
    """Ids of the accounts to which its lead tells of a sale."""
    quotes: list[Entity]
    deals: list[Entity]
    sales: list[Sale]
    """Of an account, in the order of time."""
    contributes: list[Contributed]


async def state(reader: Reader, settings: Settings, kind: str, key: str) -> State:
    """Find the state of an entity; everything is of one instant.

    Args:
        reader: Of the tables.
        settings: Their definitions, and the names of the topics.
        kind: One of `KINDS`.
        key: Its id in the CRM.

    Raises:
        UnknownEntityError: There is none.
        SalesfxError: What `Reader.view` raises.

    """
    if not is_text(key):
        raise UnknownEntityError(_unknown(kind, key))
    return await with_views(lambda: reader.view(()), lambda view: _Finder(view, settings).state(kind, key))


class _Finder:
    """Reads around one entity."""

    def __init__(self, view: View, settings: Settings) -> None:
        self._view = view
        self._rules = Rules(settings.definitions)
        self._currency = settings.currency
        self._shower = Shower(view, settings, self._rules, Language("en"))

    async def state(self, kind: str, key: str) -> State:
        record = (await self._view.read([f"{kind}:{key}"]))[f"{kind}:{key}"]
        if record is None:
            raise UnknownEntityError(_unknown(kind, key))
        if kind == "account":
            return await self._account(key, record)
        ref = LEAD + key if kind == "lead" else decode_standing(record).home
        lead = decode_lead(await self._record(ref)) if ref else Lead()
        standing = lead.own if kind == "lead" else decode_standing(record)
        entity = self._entity(kind, key, standing, _facts(kind, key, lead))
        candidates = await self._contributions(ref, lead) if ref else []
        if kind == "lead":
            candidates = [each for each in candidates if each.lead == ref]
        contributed = await self._contributed(candidates)
        if kind != "lead":
            contributed = [each for each in contributed if any((at.kind, at.id) == (kind, key) for at in each.events)]
        standings = await self._standings(lead)
        under = kind != "lead" and ref.startswith(LEAD)
        return State(
            kind=kind,
            id=key,
            currency=self._currency,
            entity=entity,
            lead=self._entity("lead", split(ref)[1], lead.own, lead.facts) if under else None,
            accounts=[
                split(account)[1]
                for account in sorted(summarise(ref, lead, self._rules).statements)
                if account.startswith(ACCOUNT)
            ],
            quotes=[self._entity("quote", each, standings[QUOTE + each], quote) for each, quote in lead.quotes.items()],
            deals=[self._entity("deal", each, standings[DEAL + each], deal) for each, deal in lead.deals.items()],
            sales=[],
            contributes=contributed,
        )

    async def _account(self, key: str, record: bytes) -> State:
        statements = decode_account(record).statements
        lead_of = {id(item): lead for lead, said in statements.items() for item in (*said.won, *said.planned)}
        sales = [
            _sale(placed.item, lead_of[id(placed.item)], placed.category, placed.decided_by)
            for placed in categorised(statements.values())
        ]
        return State(
            kind="account",
            id=key,
            currency=self._currency,
            entity=None,
            lead=None,
            accounts=[],
            quotes=[],
            deals=[],
            sales=sales,
            contributes=await self._contributed(of_account(ACCOUNT + key, statements, self._rules)),
        )

    async def _contributions(self, ref: str, lead: Lead) -> list[Contribution]:
        """Give what a lead contributes, and all of the accounts that it speaks of."""
        found = [*of_lead(ref, lead, self._rules), *of_own_account(ref, lead, self._rules)]
        accounts = [each for each in summarise(ref, lead, self._rules).statements if each.startswith(ACCOUNT)]
        for account, record in (await self._view.read(accounts)).items():
            if record is not None:
                found += of_account(account, decode_account(record).statements, self._rules)
        return found

    async def _contributed(self, contributions: Iterable[Contribution]) -> list[Contributed]:
        ordered = sorted(contributions, key=lambda each: (each.date, each.metric, each.entity))
        shown = await self._shower.shown(ordered)
        return [
            Contributed(
                **msgspec.structs.asdict(words), month=contribution.date.rpartition("-")[0], metric=contribution.metric
            )
            for contribution, words in zip(ordered, shown, strict=True)
        ]

    async def _standings(self, lead: Lead) -> Mapping[str, Standing | None]:
        refs = [QUOTE + key for key in lead.quotes] + [DEAL + key for key in lead.deals]
        records = await self._view.read(refs)
        return {ref: None if record is None else decode_standing(record) for ref, record in records.items()}

    async def _record(self, ref: str) -> bytes:
        record = (await self._view.read([ref]))[ref]
        if record is None:
            raise UnknownEntityError(f"the record {ref} is gone; run `salesfx audit`, and see docs/audit.md.")
        return record

    def _entity(
        self, kind: str, key: str, standing: Standing | None, facts: LeadFacts | QuoteFacts | DealFacts | None
    ) -> Entity:
        return Entity(
            kind=kind,
            id=key,
            version=None if standing is None else self._version(kind, standing),
            date=None if standing is None else self._rules.time.local(standing.occurred_at).date,
            lives_in=standing.home or None if standing is not None else None,
            fields={} if facts is None else _fields(facts),
            qualifies=self._rules.qualifies(facts) if isinstance(facts, QuoteFacts) else None,
        )

    def _version(self, kind: str, standing: Standing) -> Version:
        return Version(
            revision=standing.revision,
            recorded_at=iso_instant(standing.recorded_at),
            event_id=standing.event_id,
            occurred_at=iso_instant(standing.occurred_at),
            retracted=standing.retracted,
            topic=self._shower.topic(kind),
            partition=standing.partition,
            offset=standing.offset,
        )


def _facts(kind: str, key: str, lead: Lead) -> LeadFacts | QuoteFacts | DealFacts | None:
    if kind == "lead":
        return lead.facts
    return lead.quotes.get(key) if kind == "quote" else lead.deals.get(key)


def _fields(facts: LeadFacts | QuoteFacts | DealFacts) -> dict[str, Any]:
    """Name what an event says; its occurred_at is the version's."""
    fields = {name: value for name, value in msgspec.structs.asdict(facts).items() if value is not None}
    fields.pop("occurred_at", None)
    hundredths = fields.pop("hundredths", None)
    if "amount" in fields and hundredths is not None:
        fields["value"] = decimal_string(hundredths)
    return {name: iso_day(value) if name in _DAYS else value for name, value in fields.items()}


def _sale(item: WonDeal | PlannedQuote, lead: str, category: str, decided_by: WonDeal | None) -> Sale:
    won = isinstance(item, WonDeal)
    return Sale(
        kind="deal" if won else "quote",
        id=item.deal_id if isinstance(item, WonDeal) else item.quote_id,
        lives_in=lead,
        date=iso_day(item.day),
        value=str(in_units("booked_sales_value", item.hundredths)),
        category=category,
        decided_by=None if decided_by is None else decided_by.deal_id,
        covers_until=iso_day(item.covered_until) if isinstance(item, WonDeal) else None,
        expected_on=iso_day(item.expected_day) if isinstance(item, PlannedQuote) else None,
        crm_category=item.category if isinstance(item, WonDeal) else None,
    )


def _unknown(kind: str, key: str) -> str:
    shown = repr(key[:200])
    if kind == "account":
        return f"there is no account {shown}: no won deal and no planned quote of an event that has come belongs to it."
    return (
        f"there is no {kind} {shown}: no event of it has come that could be used. Ids are taken exactly; capitals and "
        "spaces count."
    )
