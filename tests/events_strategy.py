"""Hypothesis strategies for small worlds of events that collide with each other as often as possible."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import strategies as st

from salesfx.definitions import Definitions

DEFINITIONS = Definitions(source_aliases={"www": "web"}, coverage_days=200, sales_cycle_days=20)

_start = datetime(2026, 9, 28, 20, 30, tzinfo=UTC)
_instants = st.sampled_from([0, 1, 2, 30, 31, 60, 200, 201, 230, 400, 401]).flatmap(
    lambda days: st.sampled_from([0, 30, 45, 90, 1439]).map(
        lambda minutes: (_start + timedelta(days=days, minutes=minutes)).isoformat()
    )
)
_leads = st.sampled_from(["L1", "L2", "L3"])
_accounts = st.sampled_from([None, None, "A1", "A2", " "])
_people = st.sampled_from([None, "maria", " Ivan ", "ivan", ""])


def _versions(topic: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, bytes]]:
    event = st.fixed_dictionaries(
        {
            "event_id": st.sampled_from(["e1", "e2"]),
            "occurred_at": _instants,
            **fields,
        },
        optional={
            "revision": st.sampled_from([0, 1, 2, None]),
            "recorded_at": st.sampled_from(["2026-10-01T00:00:00Z", "2026-12-01T00:00:00+02:00"]),
            "retracted": st.sampled_from([False, False, False, True, None]),
        },
    )
    return event.map(lambda fields: (topic, msgspec.json.encode(fields)))


_amounts = st.sampled_from(["100", 250, 10.005, "0", "33.335"])
_currencies = st.sampled_from(["EUR", "eur ", "BGN", "USD"])
_ends = st.sampled_from([None, "2026-10-15", "2027-05-01", "9999-12-31"])

events = st.one_of(
    _versions(
        "lead_created",
        lead_id=_leads,
        source=st.sampled_from([None, "Web", "WWW", "fair"]),
        salesperson=_people,
        account_id=_accounts,
    ),
    _versions(
        "quote_sent",
        quote_id=st.sampled_from(["Q1", "Q2", "Q3", "D1"]),
        lead_id=st.one_of(st.none(), _leads),
        account_id=_accounts,
        salesperson=_people,
        amount=_amounts,
        currency=_currencies,
        need=st.sampled_from(["crm", "crm", None]),
        recipient_count=st.sampled_from([1, 10, 11, None]),
        expected_close_on=st.sampled_from([None, None, "2026-11-20"]),
    ),
    _versions(
        "deal_closed",
        deal_id=st.sampled_from(["D1", "D2", "D3", "D4"]),
        lead_id=st.one_of(st.none(), _leads),
        account_id=_accounts,
        quote_id=st.sampled_from([None, "Q1", "Q2"]),
        salesperson=_people,
        outcome=st.sampled_from(["won", "won", "won", "lost", "open"]),
        amount=_amounts,
        currency=_currencies,
        contract_ends_on=_ends,
        category=st.sampled_from([None, None, "returning", "expansion"]),
    ),
)
