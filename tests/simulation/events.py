"""Events over so few ids that nearly each of them meets another one's lead, quote, deal or account."""

import json
import random
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from salesfx.definitions import Definitions
from salesfx.refusal import Reason

DEFINITIONS = Definitions(source_aliases={"www": "web"}, coverage_days=200, sales_cycle_days=20)
_POOL = 3_000
_UNUSABLE = 0.06
_START = datetime(2026, 9, 28, 20, 30, tzinfo=UTC)
_LEADS, _ACCOUNTS = ("L1", "L2", "L3"), (None, None, "A1", "A2")
_PEOPLE = (None, "maria", " Ivan ")


class Message(NamedTuple):
    """What is published."""

    topic: str
    value: bytes | None
    reason: str | None
    """Why it cannot be used; None where it can."""


@cache
def pool() -> list[Message]:
    """Give the events that all worlds draw from; they are made once, and are the same in every process."""
    chance = random.Random(1)
    return [_message(chance) for _ in range(_POOL)]


def _message(chance: random.Random) -> Message:
    topic = chance.choice(("lead_created", "quote_sent", "quote_sent", "deal_closed", "deal_closed"))
    event = {"event_id": chance.choice(("e1", "e2")), "occurred_at": _instant(chance), **_FIELDS[topic](chance)}
    if chance.random() < 0.7:
        event["revision"] = chance.randrange(4)
    if chance.random() < 0.3:
        event["recorded_at"] = chance.choice(("2026-10-01T00:00:00Z", "2026-12-01T00:00:00+02:00"))
    if chance.random() < 0.12:
        event["retracted"] = True
    elif chance.random() < _UNUSABLE:
        return _spoilt(chance, topic, event)
    return Message(topic, json.dumps(event).encode(), None)


def _instant(chance: random.Random) -> str:
    days, minutes = chance.choice((0, 1, 2, 30, 31, 60, 200, 201, 230, 401)), chance.choice((0, 30, 90, 1439))
    return (_START + timedelta(days=days, minutes=minutes)).isoformat()


def _lead(chance: random.Random) -> dict[str, Any]:
    return {
        "lead_id": chance.choice(_LEADS),
        "source": chance.choice((None, "Web", "WWW", "fair")),
        "salesperson": chance.choice(_PEOPLE),
        "account_id": chance.choice(_ACCOUNTS),
    }


def _quote(chance: random.Random) -> dict[str, Any]:
    return {
        "quote_id": chance.choice(("Q1", "Q2", "Q3", "Q4")),
        "lead_id": chance.choice((None, *_LEADS)),
        "account_id": chance.choice(_ACCOUNTS),
        "salesperson": chance.choice(_PEOPLE),
        "amount": chance.choice(("100", "250.50", "0", "33.335")),
        "currency": chance.choice(("EUR", "BGN")),
        "need": chance.choice(("crm", "crm", None)),
        "recipient_count": chance.choice((1, 10, 11)),
        "expected_close_on": chance.choice((None, "2026-11-20")),
    }


def _deal(chance: random.Random) -> dict[str, Any]:
    return {
        "deal_id": chance.choice(("D1", "D2", "D3", "D4")),
        "lead_id": chance.choice((None, *_LEADS)),
        "account_id": chance.choice(_ACCOUNTS),
        "quote_id": chance.choice((None, "Q1", "Q2")),
        "salesperson": chance.choice(_PEOPLE),
        "outcome": chance.choice(("won", "won", "won", "lost", "open")),
        "amount": chance.choice(("100", "70.10")),
        "currency": chance.choice(("EUR", "BGN")),
        "contract_ends_on": chance.choice((None, "2026-10-15", "2027-05-01", "9999-12-31")),
        "category": chance.choice((None, None, "returning")),
    }


_FIELDS = {"lead_created": _lead, "quote_sent": _quote, "deal_closed": _deal}


def _spoilt(chance: random.Random, topic: str, event: dict[str, Any]) -> Message:
    match chance.randrange(4):
        case 0:
            return Message(topic, None, Reason.NO_VALUE)
        case 1:
            return Message(topic, b"no json", Reason.NOT_JSON)
        case 2:
            return Message(topic, json.dumps(event | {"event_id": " "}).encode(), Reason.MISSING_FIELD)
    if topic == "quote_sent":
        return Message(topic, json.dumps(event | {"currency": "XTS"}).encode(), Reason.NO_RATE)
    return Message(topic, json.dumps(event | {"occurred_at": "yesterday"}).encode(), Reason.INVALID_FIELD)
