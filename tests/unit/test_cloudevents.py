"""A CloudEvents 1.0 envelope changes nothing about the event inside it."""

import base64
import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salesfx.decoder import Event, decode
from salesfx.events import TOPICS
from salesfx.refusal import Reason, Refused

EVENT = {"event_id": "e", "occurred_at": "2026-10-05T09:30:00Z", "lead_id": "L", "source": "web"}
BARE = {"lead_id": "L", "source": "web"}
ENCODED = base64.b64encode(json.dumps(EVENT).encode()).decode()
ENVELOPE = {"specversion": "1.0", "type": "x", "source": "/crm", "id": "ce", "time": "2026-11-05T09:30:00Z"}
HEADERS = [("ce_specversion", b"1.0"), ("ce_id", b"ce"), ("ce_time", b"2026-11-05T09:30:00Z"), ("ce_type", b"x")]


def structured(**parts: Any) -> Event:
    """Decode a structured envelope."""
    return decode("lead_created", json.dumps(ENVELOPE | parts).encode())


def binary(event: dict[str, Any], headers: list[tuple[str, bytes | None]]) -> Event:
    """Decode an event with a binary-mode envelope in its headers."""
    return decode("lead_created", json.dumps(event).encode(), headers)


def plain(**fields: Any) -> Event:
    """Decode an event without an envelope."""
    return decode("lead_created", json.dumps(EVENT | fields).encode())


def test_what_the_event_says_itself_counts() -> None:
    """The envelope's id and time serve only where it lacks them."""
    assert structured(data=EVENT) == plain()
    assert structured(data=EVENT | {"id": "x", "time": "y"}) == plain()
    assert binary(EVENT, [*HEADERS]) == plain()


@pytest.mark.parametrize("lacking", [{}, {"event_id": None, "occurred_at": ""}, {"event_id": " ", "occurred_at": "\t"}])
def test_id_and_time_serve_where_the_event_lacks_them(lacking: dict[str, Any]) -> None:
    """Null and blank are lacking too."""
    filled = plain(event_id="ce", occurred_at="2026-11-05T09:30:00Z")
    assert structured(data=BARE | lacking) == filled
    assert binary(BARE | lacking, [*HEADERS]) == filled
    assert structured(data=BARE | {"event_id": "e"}) == plain(occurred_at="2026-11-05T09:30:00Z")
    assert structured(data=BARE | {"occurred_at": "2026-10-05T09:30:00Z"}) == plain(event_id="ce")


def test_data_may_be_base64() -> None:
    """Where there is no data."""
    assert structured(data_base64=ENCODED) == plain()
    assert structured(data_base64=ENCODED, data=None) == plain()
    assert structured(data_base64=ENCODED, data="") == plain()
    assert structured(data_base64=ENCODED, data=" \u00a0\n") == plain(), "blank is absent in every field"
    assert structured(data_base64="?", data=EVENT) == plain()


def test_a_retraction_and_other_topics_come_in_an_envelope_too() -> None:
    """Nothing is special about leads."""
    assert structured(data={"lead_id": "L", "retracted": True}).standing.retracted
    quote = {"quote_id": "Q", "amount": 10.005, "currency": "EUR"}
    assert decode("quote_sent", json.dumps(ENVELOPE | {"data": quote}).encode()).facts.amount == "10.005"  # type: ignore[union-attr]


@pytest.mark.parametrize("blank", [None, "", "  "])
def test_a_blank_specversion_is_none(blank: str | None) -> None:
    """As in every field."""
    assert plain(specversion=blank, data={}) == plain()


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"specversion": "0.3", "data": EVENT}, "specversion: '0.3' is not 1.0"),
        ({"specversion": "1.0.2", "data": EVENT}, "specversion: '1.0.2' is not 1.0"),
        ({"specversion": 1.0, "data": EVENT}, "specversion: '1.0' is not 1.0"),
        ({}, "data: absent; the event belongs there"),
        ({"data": None}, "data: absent; the event belongs there"),
        ({"data": "", "data_base64": 7}, "data: absent; the event belongs there"),
        ({"data": " "}, "data: absent; the event belongs there"),
        ({"data_base64": "e30"}, "data_base64: "),  # the rest are Python's words
        ({"data_base64": "!" + ENCODED}, "data_base64: "),
        ({"data_base64": "é"}, "data_base64: "),
    ],
)
def test_a_bad_envelope_is_refused(parts: dict[str, Any], words: str) -> None:
    """With a reason of its own."""
    with pytest.raises(Refused) as caught:
        structured(**parts)
    assert caught.value.reason is Reason.INVALID_ENVELOPE
    assert caught.value.detail.startswith(words)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ([("ce_specversion", b"0.3")], "ce_specversion: '0.3' is not 1.0"),
        ([("ce_specversion", None)], "ce_specversion: '' is not 1.0"),
        ([*HEADERS, ("ce_subject", b"\xff")], "a ce_ header is not UTF-8"),
    ],
)
def test_bad_headers_are_refused(headers: list[tuple[str, bytes | None]], words: str) -> None:
    """Likewise."""
    with pytest.raises(Refused) as caught:
        binary(EVENT, headers)
    assert (caught.value.reason, caught.value.detail) == (Reason.INVALID_ENVELOPE, words)


def test_other_headers_are_nobody_s_business() -> None:
    """Without ce_specversion there is no envelope."""
    assert binary(EVENT, [("traceparent", b"\xff"), ("ce_id", b"x"), ("ce_x", None)]) == plain()
    assert binary(EVENT, [*HEADERS, ("traceparent", b"\xff"), ("ce_subject", None)]) == plain()


@pytest.mark.parametrize(
    ("parts", "reason", "words"),
    [
        ({"data": "x"}, Reason.NOT_JSON, "not a JSON object"),
        ({"data": [EVENT]}, Reason.NOT_JSON, "not a JSON object"),
        ({"data_base64": "/w=="}, Reason.NOT_JSON, "not JSON in UTF-8"),
        ({"data": BARE, "id": None}, Reason.MISSING_FIELD, "event_id: absent, null or blank"),
        ({"data": BARE, "id": 7}, Reason.INVALID_FIELD, "event_id: is not a string"),
        ({"data": BARE, "id": "x" * 201}, Reason.INVALID_FIELD, "event_id: has 201 characters"),
        ({"data": BARE, "time": "2026-11-05"}, Reason.INVALID_FIELD, "occurred_at: '2026-11-05' is not an RFC 3339"),
        ({"data": BARE | {"source": 7}}, Reason.INVALID_FIELD, "source: is not a string"),
        ({"data": {"specversion": "1.0", "data": EVENT}}, Reason.MISSING_FIELD, "lead_id: absent"),
    ],
)
def test_the_event_inside_is_checked_as_ever(parts: dict[str, Any], reason: Reason, words: str) -> None:
    """An envelope in an envelope is no event."""
    with pytest.raises(Refused) as caught:
        structured(**parts)
    assert caught.value.reason is reason
    assert words in caught.value.detail


_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5), st.just("1.0")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from([*EVENT, "retracted", "revision", "quote_id", "amount", "currency"]), inner),
    ),
    max_leaves=6,
)
_headers = st.lists(
    st.tuples(
        st.sampled_from(["ce_specversion", "ce_id", "ce_time", "x"]),
        st.one_of(st.none(), st.binary(max_size=4), st.just(b"1.0")),
    ),
    max_size=4,
)


@settings(max_examples=1000, deadline=None)
@given(
    st.sampled_from(TOPICS),
    st.fixed_dictionaries(
        {"specversion": st.one_of(st.just("1.0"), _json)},
        optional=dict.fromkeys(["id", "time", "data", "data_base64"], _json),
    ),
    _headers,
)
def test_no_envelope_raises_anything_but_refused(
    topic: str, envelope: dict[str, Any], headers: list[tuple[str, bytes | None]]
) -> None:
    """Whatever is in it."""
    with suppress(Refused):
        assert decode(topic, msgspec.json.encode(envelope), headers).topic == topic
