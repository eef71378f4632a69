"""The events that CRMs publish: one type a topic.

These types are the one place where an event's fields are named. The decoder, the JSON Schemas, the AsyncAPI document and
the publisher are derived from them. What the fields mean for the numbers is in `docs/events.md`.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

MAX_ID = 200
"""Longest id, in characters."""
MAX_NAME = 100
"""Longest source or salesperson, in characters, after trimming."""
MAX_MESSAGE = 64 * 1024
"""Largest message, in bytes."""
MAX_INTEGER = 2**63 - 1
FIRST_YEAR, LAST_YEAR = 2000, 2100
"""Years, as written, that an event may speak of."""

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID)]
Name = Annotated[str, Meta(max_length=MAX_NAME)]
Amount = Annotated[
    Decimal,
    Meta(
        description="Decimal string (digits, at most one point) or a JSON number, from 0 to below 10^10.",
        examples=["1150.00"],
        extra_json_schema={"type": ["string", "number"], "pattern": r"^[0-9]+(\.[0-9]*)?$|^\.[0-9]+$"},
    ),
]
Currency = Annotated[str, Meta(description="ISO 4217 code.", examples=["EUR"])]


class CrmEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every event has. A field that is null or blank counts as absent."""

    topic: ClassVar[str]
    entity: ClassVar[str]
    """The field with the entity's own id, which is also the message's key."""
    needed: ClassVar[tuple[str, ...]] = ()
    """Fields that a version must have unless it is retracted, beside the ids and occurred_at."""

    event_id: Annotated[Id, Meta(description="Id of this event, unique in the CRM.")]
    occurred_at: Annotated[
        datetime,
        Meta(
            tz=True,
            description="When it happened in the business: the lead came, the quote was sent, the deal closed. A correction keeps it.",
        ),
    ]
    recorded_at: Annotated[datetime, Meta(tz=True, description="When the CRM wrote this version down.")] | None = None
    revision: Annotated[
        int, Meta(ge=0, le=MAX_INTEGER, description="Version of the entity; the greatest wins, whatever arrives when.")
    ] = 0
    retracted: Annotated[bool, Meta(description="The entity is withdrawn, as if none of its events had come.")] = False


class LeadCreated(CrmEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A lead entered sales."""

    topic: ClassVar[str] = "lead_created"
    entity: ClassVar[str] = "lead_id"

    lead_id: Id
    source: Annotated[Name, Meta(description="Where the lead came from.")] | None = None
    salesperson: Annotated[Name, Meta(description="Who owns the lead.")] | None = None
    account_id: Annotated[Id, Meta(description="The customer it belongs to, where it is known.")] | None = None


class QuoteSent(CrmEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A quote was sent to a lead. It qualifies the lead when it answers a need and is not a bulk mail."""

    topic: ClassVar[str] = "quote_sent"
    entity: ClassVar[str] = "quote_id"
    needed: ClassVar[tuple[str, ...]] = ("amount", "currency")

    quote_id: Id
    lead_id: Id | None = None
    account_id: Id | None = None
    salesperson: Annotated[Name, Meta(description="Who sent it; absent: the lead's salesperson.")] | None = None
    amount: Amount | None = None
    currency: Currency | None = None
    need: Annotated[str, Meta(description="The identified need that the quote answers.")] | None = None
    recipient_count: Annotated[
        int, Meta(ge=1, le=MAX_INTEGER, description="How many people got the same text.")
    ] = 1
    expected_close_on: Annotated[date, Meta(description="When the deal is expected to close.")] | None = None


class DealClosed(CrmEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A deal was won, lost or re-opened."""

    topic: ClassVar[str] = "deal_closed"
    entity: ClassVar[str] = "deal_id"
    needed: ClassVar[tuple[str, ...]] = ("outcome",)
    needed_where_won: ClassVar[tuple[str, ...]] = ("amount", "currency")

    deal_id: Id
    lead_id: Id | None = None
    account_id: Id | None = None
    quote_id: Annotated[Id, Meta(description="The quote that it answers.")] | None = None
    salesperson: Annotated[Name, Meta(description="Who closed it; absent: the lead's salesperson.")] | None = None
    outcome: Annotated[Literal["won", "lost", "open"], Meta(description="open: it was re-opened.")] | None = None
    amount: Amount | None = None
    currency: Currency | None = None
    contract_ends_on: (
        Annotated[date, Meta(description="Last day that the contract covers; 9999-12-31 is an open end.")] | None
    ) = None
    category: (
        Annotated[
            Literal["new_account", "expansion", "returning"],
            Meta(description="What the CRM knows; counts only for an account's first deal in the log."),
        ]
        | None
    ) = None


EVENT_TYPES: dict[str, type[LeadCreated] | type[QuoteSent] | type[DealClosed]] = {
    event_type.topic: event_type for event_type in (LeadCreated, QuoteSent, DealClosed)
}
TOPICS: tuple[str, ...] = tuple(EVENT_TYPES)
DEAD_LETTERS = "salesfx.dead_letters"
"""Topic of the events that could not be used."""
