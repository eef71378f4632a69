"""One event: what is read of a message, and what orders the versions of one entity."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from salesfx.audit.recomputation.fields import (
    decimal_text,
    instant_text,
    read_amount,
    read_boolean,
    read_choice,
    read_currency,
    read_day,
    read_id,
    read_instant,
    read_integer,
    read_name,
    read_text,
    required,
)
from salesfx.audit.recomputation.forgetting import forget
from salesfx.audit.recomputation.heartbeat import refuse_heartbeat
from salesfx.audit.recomputation.meaning import convert, local_date, needs_rate
from salesfx.audit.recomputation.message import Headers, read_message
from salesfx.audit.recomputation.refusal import RefusedError
from salesfx.definitions import Definitions

LEAD, QUOTE, DEAL = "lead_created", "quote_sent", "deal_closed"
OWN_ID = {LEAD: "lead_id", QUOTE: "quote_id", DEAL: "deal_id"}
OUTCOMES = ("won", "lost", "open")
WRITER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
CATEGORIES = ("new_account", "expansion", "returning")


@dataclass(frozen=True)
class Event:
    """One usable event: the version of one entity. What its topic does not have is None."""

    topic: str
    id: str
    event_id: str
    occurred_at: datetime
    recorded_at: datetime
    revision: int
    retracted: bool
    canonical: bytes
    source: str | None = None
    salesperson: str | None = None
    lead_id: str | None = None
    account_id: str | None = None
    quote_id: str | None = None
    hundredths: int | None = None
    need: str | None = None
    recipient_count: int = 1
    expected_close_on: date | None = None
    outcome: str | None = None
    contract_ends_on: date | None = None
    category: str | None = None
    by_rate: bool = False  # whether its amount was converted by a rate out of the settings


def refused(topic: str, value: bytes, definitions: Definitions) -> bool:
    """Tell whether the event cannot be used under these definitions."""
    try:
        read_event(topic, value, definitions)
    except RefusedError:
        return True
    return False


def read_event(topic: str, value: bytes, definitions: Definitions, headers: Headers = ()) -> Event:
    """Read one event, or raise RefusedError."""
    if topic not in OWN_ID:
        raise RefusedError(f"unknown topic {topic}")
    refuse_heartbeat(value, headers)
    raw = read_message(value, headers)

    event_id = required("event_id", read_id(raw, "event_id"))
    entity_id = required(OWN_ID[topic], read_id(raw, OWN_ID[topic]))
    occurred_at = required("occurred_at", read_instant(raw, "occurred_at"))
    # The version is read of a retraction too: without it the retraction could not be ordered.
    recorded_at = read_instant(raw, "recorded_at") or occurred_at
    revision = read_integer(raw, "revision", least=0, default=0)
    retracted = read_boolean(raw, "retracted")

    # What the canonical bytes are made of: the fields that were read, normalised. None is an absent field.
    content: dict[str, Any] = {
        "event_id": event_id,
        "occurred_at": instant_text(occurred_at),
        "recorded_at": instant_text(recorded_at),
        "revision": revision,
        "retracted": retracted,
        OWN_ID[topic]: entity_id,
    }
    content = forget(content, definitions)
    entity_id = content[OWN_ID[topic]]
    if retracted:  # nothing further is read, so nothing further can be wrong with it
        return Event(topic, entity_id, event_id, occurred_at, recorded_at, revision, True, canonical_bytes(content))

    salesperson = read_name(raw, "salesperson")
    account_id = read_id(raw, "account_id")
    content |= {"salesperson": salesperson, "account_id": account_id}

    source = lead_id = quote_id = need = outcome = category = None
    hundredths = expected_close_on = contract_ends_on = None
    recipient_count = 1
    by_rate = False

    if topic == LEAD:
        source = read_name(raw, "source")
        content |= {"source": source}

    if topic in (QUOTE, DEAL):
        lead_id = read_id(raw, "lead_id")
        content |= {"lead_id": lead_id}

    if topic == QUOTE:
        need = read_text(raw, "need")
        need = None if need is None else need.strip()[:200]  # as much of it is read
        recipient_count = read_integer(raw, "recipient_count", least=1, default=1)
        expected_close_on = read_day(raw, "expected_close_on", years=(2000, 2100))
        content |= {
            "need": need,
            "recipient_count": recipient_count,
            "expected_close_on": None if expected_close_on is None else expected_close_on.isoformat(),
        }

    if topic == DEAL:
        quote_id = read_id(raw, "quote_id")
        outcome = required("outcome", read_choice(raw, "outcome", OUTCOMES))
        category = read_choice(raw, "category", CATEGORIES)
        # CRMs write an open end as 9999-12-31, so any year will do.
        contract_ends_on = read_day(raw, "contract_ends_on", years=(1, 9999))
        content |= {
            "quote_id": quote_id,
            "outcome": outcome,
            "category": category,
            "contract_ends_on": None if contract_ends_on is None else contract_ends_on.isoformat(),
        }

    if topic == QUOTE or outcome == "won":  # of any other deal the money is not read, not even to refuse it
        amount = required("amount", read_amount(raw, "amount"))
        currency = required("currency", read_currency(raw, "currency"))
        by_rate = needs_rate(currency, definitions)
        hundredths = convert(amount, currency, local_date(occurred_at, definitions), definitions)
        content |= {"amount": decimal_text(amount), "currency": currency}

    content = forget(content, definitions)
    lead_id = content.get("lead_id") if topic != LEAD else None
    return Event(
        topic=topic,
        id=entity_id,
        event_id=event_id,
        occurred_at=occurred_at,
        recorded_at=recorded_at,
        revision=revision,
        retracted=False,
        canonical=canonical_bytes(content),
        source=source,
        salesperson=content["salesperson"],
        lead_id=lead_id,
        account_id=content["account_id"],
        quote_id=quote_id,
        hundredths=hundredths,
        need=content.get("need"),
        recipient_count=recipient_count,
        expected_close_on=expected_close_on,
        outcome=outcome,
        contract_ends_on=contract_ends_on,
        category=category,
        by_rate=by_rate,
    )


def canonical_bytes(content: Mapping[str, str | int | None]) -> bytes:
    """Write what was read of an event in one way only: the last key of the order of versions."""
    present = {name: value for name, value in content.items() if value is not None}
    return WRITER.encode(present).encode("utf-8")


def from_canonical(topic: str, canonical: bytes, hundredths: int | None) -> Event:
    """Give the event again that has these canonical bytes and this converted amount (`by_rate` is not known)."""
    content = json.loads(canonical)
    own_id = content.pop(OWN_ID[topic])
    for name in ("amount", "currency"):
        content.pop(name, None)
    for name in ("occurred_at", "recorded_at"):
        content[name] = datetime.fromisoformat(content[name])
    for name in ("expected_close_on", "contract_ends_on"):
        if name in content:
            content[name] = date.fromisoformat(content[name])
    return Event(topic=topic, id=own_id, canonical=canonical, hundredths=hundredths, **content)


def version(event: Event) -> tuple[int, datetime, str, bytes]:
    """Give what orders the versions of one entity. No two versions with different content are equal in it."""
    return event.revision, event.recorded_at, event.event_id, event.canonical


def occurred_at_of(event: Event) -> datetime:
    """Tell when it happened."""
    return event.occurred_at


def moment(event: Event) -> tuple[datetime, str]:
    """Give what orders quotes among quotes and deals among deals: when it happened, then the id."""
    return event.occurred_at, event.id
