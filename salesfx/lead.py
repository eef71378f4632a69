"""A lead: its own facts and the quotes and deals that live under it, each by the version that stands.

Merging is a maximum over versions, so it does not matter in which order, how often or in which batches events come.
A quote or deal without a lead lives under a stand-in, whose id space is apart from the CRM's and which is no lead.
"""

from typing import Any

import msgspec

from salesfx.business_time import iso_day, iso_instant

LEAD, QUOTE, DEAL, ACCOUNT = "lead:", "quote:", "deal:", "account:"
"""Prefixes of references to records; what follows is the CRM's id."""
QUOTE_STAND_IN, DEAL_STAND_IN = "lead-of-quote:", "lead-of-deal:"
HOMES = (LEAD, QUOTE_STAND_IN, DEAL_STAND_IN)
"""Prefixes of what quotes and deals live under."""
MAX_ENTITIES = 10_000
"""Most quotes and deals under one lead, or that one account is told of."""


class LeadFacts(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a lead_created says, normalised."""

    source: str | None
    salesperson: str | None
    account_id: str | None


class QuoteFacts(msgspec.Struct, array_like=True, gc=False):
    """What a quote_sent says, normalised."""

    occurred_at: int
    lead_id: str | None
    account_id: str | None
    salesperson: str | None
    amount: str
    currency: str
    need: str | None
    recipient_count: int
    expected_close_on: int | None
    hundredths: int = 0
    """The amount in the reporting currency, set when the event is merged."""


class DealFacts(msgspec.Struct, array_like=True, gc=False):
    """What a deal_closed says, normalised."""

    occurred_at: int
    lead_id: str | None
    account_id: str | None
    salesperson: str | None
    quote_id: str | None
    outcome: str
    amount: str | None
    currency: str | None
    contract_ends_on: int | None
    category: str | None
    hundredths: int = 0
    """The amount in the reporting currency, set when the event is merged."""


Facts = LeadFacts | QuoteFacts | DealFacts


class Standing(msgspec.Struct, array_like=True, gc=False):
    """The version that stands for an entity, and where its event lies in Kafka."""

    revision: int
    recorded_at: int
    event_id: str
    occurred_at: int
    retracted: bool
    home: str
    """Reference of the lead or stand-in that the entity lives under; empty where it is retracted, or a lead itself."""
    partition: int
    offset: int

    @property
    def origin(self) -> tuple[int, int]:
        """Partition and offset; of two deliveries of one version the least is kept."""
        return self.partition, self.offset


class Lead(msgspec.Struct, array_like=True, gc=False):
    """A lead or stand-in, with what lives under it."""

    own: Standing | None = None
    """The version of its lead_created that stands; None for a stand-in, and while none has come."""
    facts: LeadFacts | None = None
    """None where its lead_created has not come or is retracted."""
    quotes: dict[str, QuoteFacts] = {}
    deals: dict[str, DealFacts] = {}

    @property
    def entities(self) -> int:
        """How many quotes and deals live under it."""
        return len(self.quotes) + len(self.deals)


def home_of_quote(key: str, lead_id: str | None) -> str:
    """Name what a quote lives under: its lead, else a stand-in of its own."""
    return QUOTE_STAND_IN + key if lead_id is None else LEAD + lead_id


def home_of_deal(key: str, lead_id: str | None, quote_id: str | None) -> str:
    """Name what a deal lives under: its lead, else the stand-in of the quote that it names, else its own."""
    if lead_id is not None:
        return LEAD + lead_id
    return DEAL_STAND_IN + key if quote_id is None else QUOTE_STAND_IN + quote_id


def canonical(entity: str, key: str, version: Standing, facts: Facts | None) -> bytes:
    """Write a version's content so that two versions that tie in everything else have an order.

    UTF-8 JSON of the fields read, normalised, absent ones left out, keys sorted, no spaces.

    Args:
        entity: Name of the id field: lead_id, quote_id or deal_id.
        key: The entity's id.
        version: The version; of a retraction nothing else is read.
        facts: Its content, None for a retraction.

    """
    fields = {} if facts is None else _fields(facts)
    fields |= {
        entity: key,
        "event_id": version.event_id,
        "occurred_at": iso_instant(version.occurred_at),
        "recorded_at": iso_instant(version.recorded_at),
        "revision": version.revision,
        "retracted": version.retracted,
    }
    present = {name: value for name, value in fields.items() if value is not None}
    return msgspec.json.encode(present, order="sorted")


def _fields(facts: Facts) -> dict[str, Any]:
    """Give the content's fields as they stand in an event; occurred_at is the version's, hundredths is ours."""
    fields = {
        name: getattr(facts, name) for name in facts.__struct_fields__ if name not in {"occurred_at", "hundredths"}
    }
    for name, value in fields.items():
        if name in _DAYS and value is not None:
            fields[name] = iso_day(value)
    return fields


_DAYS = ("expected_close_on", "contract_ends_on")
