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
MAX_NESTING = 100
"""Most arrays and objects inside each other in one message."""
MAX_DECIMALS = 100
"""Most digits after the point of an amount, without trailing zeros. Java writes a double with up to sixty."""
MAX_INTEGER = 2**63 - 1
FIRST_YEAR, LAST_YEAR = 2000, 2100
"""Years, as written, that an event may speak of."""

_NO_CONTROL_CHARACTER = {"not": {"pattern": r"[\u0000-\u001f\u007f-\u009f]"}}
_MONTH_AND_DAY = "-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_YEARS_READ = f"^(20[0-9][0-9]|{LAST_YEAR}){_MONTH_AND_DAY}"
_TIME_AND_OFFSET = r"[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"

Id = Annotated[
    str, Meta(min_length=1, max_length=MAX_ID, extra_json_schema={"pattern": r"\S", **_NO_CONTROL_CHARACTER})
]
Name = Annotated[str, Meta(max_length=MAX_NAME, extra_json_schema=_NO_CONTROL_CHARACTER)]
Instant = Annotated[
    datetime,
    Meta(
        tz=True, examples=["2026-10-05T09:30:00+03:00"], extra_json_schema={"pattern": _YEARS_READ + _TIME_AND_OFFSET}
    ),
]
Day = Annotated[date, Meta(examples=["2026-11-20"], extra_json_schema={"pattern": _YEARS_READ + "$"})]
AnyDay = Annotated[
    date,
    Meta(
        examples=["2027-11-18", "9999-12-31"],
        extra_json_schema={"pattern": f"^(?!0000)[0-9]{{4}}{_MONTH_AND_DAY}$"},
    ),
]
Amount = Annotated[
    Decimal,
    Meta(
        description="Decimal string (digits, at most one point) or a JSON number, from 0 to below 10^10.",
        examples=["1150.00", 1150],
        extra_json_schema={
            "pattern": rf"^0*[0-9]{{1,10}}(\.[0-9]{{0,{MAX_DECIMALS}}})?$|^\.[0-9]{{1,{MAX_DECIMALS}}}$",
            "minimum": 0,
            "exclusiveMaximum": 10**10,
        },
    ),
]
Currency = Annotated[
    str,
    Meta(
        description="ISO 4217 code of the amount, in capitals or not.",
        examples=["EUR"],
        extra_json_schema={"pattern": r"^\s*[A-Za-z]{3}\s*$"},
    ),
]


class CrmEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every event has. A field that is null or blank counts as absent."""

    topic: ClassVar[str]
    entity: ClassVar[str]
    """The field with the entity's own id, which is also the message's key."""
    needed: ClassVar[tuple[str, ...]] = ()
    """Fields that a version must have unless it is retracted, beside the ids and occurred_at."""

    event_id: Annotated[Id, Meta(description="Id of this event, unique in the CRM.", examples=["4711-1"])]
    occurred_at: Annotated[
        Instant,
        Meta(
            description="When it happened in the business: the lead came, the quote was sent, the deal closed. A correction keeps it.",
        ),
    ]
    recorded_at: (
        Annotated[Instant, Meta(description="When the CRM wrote this version down; absent: occurred_at.")] | None
    ) = None
    revision: Annotated[
        int, Meta(ge=0, le=MAX_INTEGER, description="Version of the entity; the greatest wins, whatever arrives when.")
    ] = 0
    retracted: Annotated[bool, Meta(description="The entity is withdrawn, as if none of its events had come.")] = False


class LeadCreated(CrmEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A lead entered sales."""

    topic: ClassVar[str] = "lead_created"
    entity: ClassVar[str] = "lead_id"

    lead_id: Annotated[Id, Meta(description="The lead's id in the CRM.", examples=["L-4711"])]
    source: Annotated[Name, Meta(description="Where the lead came from.", examples=["web"])] | None = None
    salesperson: Annotated[Name, Meta(description="Who owns the lead.")] | None = None
    account_id: Annotated[Id, Meta(description="The customer it belongs to, where it is known.")] | None = None


class QuoteSent(CrmEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A quote was sent to a lead. It qualifies the lead when it answers a need and is not a bulk mail."""

    topic: ClassVar[str] = "quote_sent"
    entity: ClassVar[str] = "quote_id"
    needed: ClassVar[tuple[str, ...]] = ("amount", "currency")

    quote_id: Annotated[Id, Meta(description="The quote's id in the CRM.", examples=["Q-82"])]
    lead_id: Annotated[Id, Meta(description="The lead that it was sent to.")] | None = None
    account_id: Annotated[Id, Meta(description="The customer; absent: the lead's.")] | None = None
    salesperson: Annotated[Name, Meta(description="Who sent it; absent: the lead's salesperson.")] | None = None
    amount: Amount | None = None
    currency: Currency | None = None
    need: (
        Annotated[
            str,
            Meta(description="The identified need that the quote answers; without one it qualifies nobody."),
        ]
        | None
    ) = None
    recipient_count: Annotated[int, Meta(ge=1, le=MAX_INTEGER, description="How many people got the same text.")] = 1
    expected_close_on: Annotated[Day, Meta(description="When the deal is expected to close.")] | None = None


class DealClosed(CrmEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A deal was won, lost or re-opened."""

    topic: ClassVar[str] = "deal_closed"
    entity: ClassVar[str] = "deal_id"
    needed: ClassVar[tuple[str, ...]] = ("outcome",)
    needed_where_won: ClassVar[tuple[str, ...]] = ("amount", "currency")

    deal_id: Annotated[Id, Meta(description="The deal's id in the CRM.", examples=["D-19"])]
    lead_id: Annotated[Id, Meta(description="The lead that it closes.")] | None = None
    account_id: Annotated[Id, Meta(description="The customer; absent: the lead's.")] | None = None
    quote_id: Annotated[Id, Meta(description="The quote that it answers.")] | None = None
    salesperson: Annotated[Name, Meta(description="Who closed it; absent: the lead's salesperson.")] | None = None
    outcome: Annotated[Literal["won", "lost", "open"], Meta(description="open: it was re-opened.")] | None = None
    amount: Amount | None = None
    currency: Currency | None = None
    contract_ends_on: (
        Annotated[AnyDay, Meta(description="Last day that the contract covers; 9999-12-31 is an open end.")] | None
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
