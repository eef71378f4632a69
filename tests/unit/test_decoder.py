"""What the decoder takes, what it refuses, in which words; and that an independent reader agrees with it."""

import json
import time
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salesfx.audit.recomputation import RefusedError, read_event
from salesfx.business_time import iso_day, iso_instant
from salesfx.decoder import Event, decode, normalise_name
from salesfx.definitions import Definitions, Rate
from salesfx.events import EVENT_TYPES, MAX_INTEGER, MAX_MESSAGE, MAX_NESTING, TOPICS, CrmEvent
from salesfx.lead import DealFacts, LeadFacts, QuoteFacts, canonical
from salesfx.refusal import Reason, Refused
from salesfx.rules import Rules

LEAD, QUOTE, DEAL = TOPICS
MINIMAL: dict[str, dict[str, Any]] = {
    LEAD: {"event_id": "e", "occurred_at": "2026-10-05T09:30:00+03:00", "lead_id": "L"},
    QUOTE: {
        "event_id": "e",
        "occurred_at": "2026-10-05T09:30:00+03:00",
        "quote_id": "Q",
        "amount": "1",
        "currency": "EUR",
    },
    DEAL: {
        "event_id": "e",
        "occurred_at": "2026-10-05T09:30:00+03:00",
        "deal_id": "D",
        "outcome": "won",
        "amount": "1",
        "currency": "EUR",
    },
}
FIELDS = [(topic, name) for topic, kind in EVENT_TYPES.items() for name in kind.__struct_fields__]
NEEDED = {(topic, name) for topic in TOPICS for name in MINIMAL[topic]}
IDS = [(topic, name) for topic, name in FIELDS if name.endswith("_id")]
NAMES = [(topic, name) for topic, name in FIELDS if name in {"source", "salesperson"}]
DAYS = [(QUOTE, "expected_close_on"), (DEAL, "contract_ends_on")]
INSTANTS = [(topic, name) for topic, name in FIELDS if name in {"occurred_at", "recorded_at"}]
AS_JAVA_WRITES_A_DOUBLE = "0.1000000000000000055511151231257827021181583404541015625"
INTEGERS = [(topic, "revision", 0) for topic in TOPICS] + [(QUOTE, "recipient_count", 1)]


def message(topic: str, fields: dict[str, Any] | None = None, /, **written: str) -> bytes:
    """Make a minimal event with other fields, given as values or as the JSON that is written."""
    texts = {name: json.dumps(value) for name, value in (MINIMAL[topic] | (fields or {})).items()} | written
    return ("{" + ",".join(f"{json.dumps(name)}:{text}" for name, text in texts.items()) + "}").encode()


def read(topic: str, fields: dict[str, Any] | None = None, /, **written: str) -> Event:
    """Decode a minimal event with other fields."""
    return decode(topic, message(topic, fields, **written))


def facts(topic: str, fields: dict[str, Any] | None = None, /, **written: str) -> Any:
    """Give the content of a minimal event with other fields."""
    return read(topic, fields, **written).facts


def refusal(value: bytes | None, topic: str = LEAD) -> Refused:
    """Give the refusal of a message."""
    with pytest.raises(Refused) as caught:
        decode(topic, value)
    return caught.value


def refused_field(topic: str, name: str, written: str) -> str:
    """Give the words with which a field's value, as JSON, is refused."""
    found = refusal(message(topic, **{name: written}), topic)
    assert found.reason is Reason.INVALID_FIELD
    return found.detail


# ---------------------------------------------------------------------------------------------------------------------
# The whole of an event


def test_reads_every_field_of_a_lead() -> None:
    """All that a lead_created says arrives, normalised."""
    event = decode(
        LEAD,
        message(
            LEAD,
            {
                "recorded_at": "2026-10-06T00:00:00Z",
                "revision": 3,
                "retracted": False,
                "source": " Web ",
                "salesperson": "Мария",
                "account_id": " A ",
            },
        ),
        partition=4,
        offset=17,
    )
    standing = event.standing
    assert (event.topic, event.key, event.ref) == (LEAD, "L", "lead:L")
    assert (standing.event_id, standing.revision, standing.retracted, standing.home) == ("e", 3, False, "")
    assert iso_instant(standing.occurred_at) == "2026-10-05T06:30:00.000000Z"
    assert iso_instant(standing.recorded_at) == "2026-10-06T00:00:00.000000Z"
    assert standing.origin == (4, 17)
    assert event.facts == LeadFacts("Web", "Мария", " A ")


def test_reads_every_field_of_a_quote() -> None:
    """All that a quote_sent says arrives, normalised."""
    event = read(
        QUOTE,
        {
            "lead_id": "L",
            "account_id": "A",
            "salesperson": " Ivan ",
            "amount": "01150.50",
            "currency": " bgn ",
            "need": " crm ",
            "recipient_count": 10,
            "expected_close_on": "2026-11-20",
        },
    )
    day = date(2026, 11, 20).toordinal()
    assert (event.ref, event.standing.home) == ("quote:Q", "lead:L")
    assert event.facts == QuoteFacts(event.standing.occurred_at, "L", "A", "Ivan", "1150.5", "BGN", "crm", 10, day)


def test_reads_every_field_of_a_deal() -> None:
    """All that a deal_closed says arrives, normalised."""
    event = read(
        DEAL,
        {
            "lead_id": "L",
            "account_id": "A",
            "quote_id": "Q",
            "salesperson": "Ivan",
            "amount": 1e3,
            "contract_ends_on": "9999-12-31",
            "category": "returning",
        },
    )
    assert (event.ref, event.standing.home) == ("deal:D", "lead:L")
    assert event.facts == DealFacts(
        event.standing.occurred_at, "L", "A", "Ivan", "Q", "won", "1000", "EUR", date.max.toordinal(), "returning"
    )


def test_what_has_no_lead_lives_under_a_stand_in() -> None:
    """A quote under its own, a deal under the one of the quote it names, else under its own."""
    assert read(QUOTE).standing.home == "lead-of-quote:Q"
    assert read(DEAL, {"quote_id": "Q"}).standing.home == "lead-of-quote:Q"
    assert read(DEAL).standing.home == "lead-of-deal:D"


def test_defaults() -> None:
    """What an optional field stands for when it is not there."""
    event = read(QUOTE)
    assert event.standing.recorded_at == event.standing.occurred_at
    assert (event.standing.revision, event.standing.retracted) == (0, False)
    assert facts(QUOTE).recipient_count == 1


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("unknown", ["1e999", "[[{}]]", '"\\ud83d"', "null", '"x"', "1" * 5000])
@pytest.mark.parametrize(
    "name", ["note", "__class__", "__struct_fields__", "id", "time", "data", "data_base64", "topic", ""]
)
def test_unknown_fields_are_ignored(topic: str, name: str, unknown: str) -> None:
    """Whatever they are called and hold."""
    assert decode(topic, message(topic, **{name: unknown})) == read(topic)


def test_half_a_character_in_the_name_of_an_unknown_field_is_ignored() -> None:
    """Nobody reads that field."""
    assert read(LEAD) == decode(LEAD, b'{"\\ud800" : [1],' + message(LEAD)[1:])


@pytest.mark.parametrize(("topic", "name"), FIELDS)
@pytest.mark.parametrize("blank", ["null", '""', '"  "', '"\\t\\n"', '"\\u00a0\\u2003"'])
def test_null_and_blank_are_the_same_as_absent_in_every_field(topic: str, name: str, blank: str) -> None:
    """A needed field is missing then, another one has its default."""
    value = message(topic, **{name: blank})
    if (topic, name) in NEEDED:
        found = refusal(value, topic)
        assert found.reason is Reason.MISSING_FIELD
        assert found.detail.startswith(f"{name}: absent, null or blank")
    else:
        assert decode(topic, value) == read(topic)


@pytest.mark.parametrize(("topic", "name"), FIELDS)
@pytest.mark.parametrize("written", ['{"a":1}', "[]", "1e999", '"\\ud800"', "-7.5", "x"])
def test_every_field_that_is_read_is_checked(topic: str, name: str, written: str) -> None:
    """None may hold an object, an array, half a character or a number that is no integer."""
    if (name, written) == ("amount", "1e999"):
        assert "is not below 10^10" in refused_field(topic, name, written)
    elif written == "x":
        assert refusal(message(topic, **{name: written}), topic).reason is Reason.NOT_JSON
    else:
        assert refused_field(topic, name, written).startswith(f"{name}: ")


def test_all_missing_fields_are_named_at_once() -> None:
    """So that a CRM's author learns of them in one go."""
    assert refusal(b"{}").detail == "event_id, occurred_at, lead_id: absent, null or blank"
    money = message(QUOTE, {"amount": None, "currency": " "})
    assert refusal(money, QUOTE).detail == "amount, currency: absent, null or blank"
    won = message(DEAL, {"amount": "", "currency": None})
    assert refusal(won, DEAL).detail == "amount, currency: absent, null or blank where the outcome is won"


# ---------------------------------------------------------------------------------------------------------------------
# JSON


@pytest.mark.parametrize("value", [None, b""])
def test_a_message_without_value_is_refused(value: bytes | None) -> None:
    """A tombstone is no retraction, and says how one is made."""
    found = refusal(value)
    assert found.reason is Reason.NO_VALUE
    assert "retracted: true" in found.detail


def test_a_message_has_at_most_64_kib() -> None:
    """To the byte."""
    padding = MAX_MESSAGE - len(message(LEAD, {"x": ""}))
    assert read(LEAD, {"x": "a" * padding}) == read(LEAD)
    found = refusal(message(LEAD, {"x": "a" * (padding + 1)}))
    assert (found.reason, found.detail) == (Reason.TOO_LARGE, "the message has 65537 bytes; at most 65536 are read")


@pytest.mark.parametrize(
    "value",
    [
        b" ",
        b"[]",
        b'"x"',
        b"1",
        b"null",
        b"{",
        b"{}{}",
        b"{'a':1}",
        b'{"x":NaN}',
        b'{"x":Infinity}',
        b'{"x":01}',
        b'{"x":1,}',
        b'{"x":"\x01"}',
        b'{"x":"\\x"}',
        b'{"x":"\\ud8zz"}',
        b'{"x":"\\ud800}',
        b'{"x":"\\d83d\\ude00"}',
        b'{"x":"\\ud800\x01"}',
        b'{"\\ud800\\x":1}',
        b'{"x":"\xff"}',
        b'{"x":"\xc3"}',
        b'{"x":"\xed\xa0\x80"}',
        b'{"\xff":1}',
        b'\xef\xbb\xbf{"x":1}',
        '{"x":1}'.encode("utf-16"),
        b"\x00",
    ],
)
def test_what_is_no_json_object_in_utf_8_is_refused(value: bytes) -> None:
    """Bad bytes are found in unknown fields too; a byte order mark is no JSON."""
    assert refusal(value).reason is Reason.NOT_JSON
    if value.startswith(b'{"') and value.endswith(b"}"):  # the same behind an event that is all right
        assert refusal(message(LEAD)[:-1] + b"," + value[1:]).reason is Reason.NOT_JSON


def test_the_last_of_two_equal_fields_counts() -> None:
    """Even where the first is of a wrong type."""
    assert decode(LEAD, message(LEAD)[:-1] + b',"lead_id":"M"}').key == "M"
    assert decode(LEAD, b'{"lead_id":[1],' + message(LEAD)[1:]).key == "L"
    assert refusal(message(LEAD)[:-1] + b',"lead_id":null}').reason is Reason.MISSING_FIELD


def test_nesting_is_bounded_wherever_the_decoder_is_called_from() -> None:
    """The parser's own bound is the stack's, so that a worker and an audit could differ."""

    def nested(depth: int) -> str:
        return "[" * depth + "]" * depth

    def from_the_deep(calls: int, value: bytes) -> Event:
        return from_the_deep(calls - 1, value) if calls else decode(LEAD, value)

    assert from_the_deep(600, message(LEAD, x=nested(MAX_NESTING - 1), y="[]")) == read(LEAD)
    assert read(LEAD, x='[{"a":"[{"},' * 90 + "0" + "]" * 90, y="[]" * 0 + "[" + ",".join(["[]"] * 200) + "]") == read(
        LEAD
    )
    for depth in (MAX_NESTING, 1000, 30_000):
        found = refusal(message(LEAD, x=nested(depth)))
        assert (found.reason, found.detail) == (Reason.NOT_JSON, "the JSON is nested deeper than 100 levels")
    assert refusal(b"[" * MAX_MESSAGE).reason is Reason.NOT_JSON
    assert refusal(b'{"a":' * 10_000).reason is Reason.NOT_JSON


@pytest.mark.parametrize(
    "value",
    [
        message(LEAD, {"source": "a" + "\u0301" * 5_000 + "\u0316" * 5_000}),
        message(LEAD, source='"' + "\u0301" * 15_000 + "\u0316" * 15_000 + '"'),
        b'{"x":"' + b'\\"' * 30_000,
        b'{"x":' + b'"\\ud800",' * 7_000 + b"1}",
        message(LEAD, revision="1e999999999", x='"\\ud800"'),
        message(LEAD, revision="0." + "0" * 60_000 + "1"),
        message(QUOTE, amount="1e-999999999999999999"),
        message(QUOTE, amount='"' + "9" * 60_000 + '"'),
    ],
    ids=range(8),
)
def test_no_message_takes_long(value: bytes) -> None:
    """Unbounded, NFC alone takes more than a second for a message full of accents."""
    begin = time.perf_counter()
    for topic in (LEAD, QUOTE):
        assert refusal(value, topic)
    assert time.perf_counter() - begin < 0.5


# ---------------------------------------------------------------------------------------------------------------------
# Ids, names, texts


@pytest.mark.parametrize(("topic", "name"), IDS)
def test_ids_are_taken_exactly_and_bounded(topic: str, name: str) -> None:
    """Neither trimmed nor composed; 200 characters, of whatever size in bytes; no control character."""
    exact = " e\u0301\u00a0"
    assert exact in canonical_text(read(topic, {name: exact}))
    assert "😀" * 200 in canonical_text(read(topic, {name: "😀" * 200}))
    assert refused_field(topic, name, json.dumps("x" * 201)) == f"{name}: has 201 characters; at most 200 are allowed"
    for character in "\x00\x1f\x7f\x85\n":
        assert refused_field(topic, name, json.dumps(f"a{character}b")) == f"{name}: has a control character"
    assert refused_field(topic, name, "7") == f"{name}: is not a string of Unicode characters"


@pytest.mark.parametrize(("topic", "name"), NAMES)
def test_names_are_trimmed_composed_and_bounded(topic: str, name: str) -> None:
    """In this order: what counts is the length of what is kept."""

    def kept(written: str) -> Any:
        return getattr(facts(topic, {name: written}), name)

    assert kept(" \u00a0Ivan Petrov\u2003 ") == "Ivan Petrov"
    assert kept("Jose\u0301") == "José"
    assert kept(" " * 300 + "x" * 100 + " " * 300) == "x" * 100
    assert kept("e\u0301" * 100) == "é" * 100
    assert kept("\u03b1\u0313\u0300\u0345" * 100) == "\u1f82" * 100  # four characters make one
    for text in (
        "x" * 101,
        "e\u0301" * 101,
        "\u03b1\u0313\u0300\u0345" * 101,
        "\u0958" * 51,
    ):  # the last: one makes two
        assert refused_field(topic, name, json.dumps(text)).startswith(f"{name}: has ")
    assert refused_field(topic, name, json.dumps("x" * 101)) == f"{name}: has 101 characters; at most 100 are allowed"
    for character in "\x00\x1f\x7f\x85\n":
        assert refused_field(topic, name, json.dumps(f"a{character}b")) == f"{name}: has a control character"
    assert kept("\n x \x85") == "x"  # blank at its ends
    assert refused_field(topic, name, "true") == f"{name}: is not a string of Unicode characters"


def test_names_are_normalised_alike_outside_of_events() -> None:
    """The function that others use says the same."""
    assert normalise_name(" e\u0301 ", "source") == "é"
    assert normalise_name("  ", "source") is normalise_name(None, "source") is None


def test_of_a_need_200_characters_are_kept() -> None:
    """Whether there is one decides, so the rest would only swell the records."""
    assert facts(QUOTE, {"need": "  " + "x" * 5000}).need == "x" * 200
    assert facts(QUOTE, {"need": "a\x00b\n"}).need == "a\x00b"
    assert refused_field(QUOTE, "need", "1") == "need: is not a string of Unicode characters"


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("outcome", ["won", "lost", "open"], ["Won", " won", "closed"]),
        ("category", ["new_account", "expansion", "returning"], ["new", "NEW_ACCOUNT", "returning "]),
    ],
)
def test_an_unknown_outcome_or_category_is_refused(name: str, good: list[str], bad: list[str]) -> None:
    """Both are taken exactly."""
    for word in good:
        assert getattr(facts(DEAL, {name: word}), name) == word
    for word in bad:
        assert refused_field(DEAL, name, json.dumps(word)) == f"{name}: {word!r} is none of {', '.join(good)}"
    assert refused_field(DEAL, name, "1") == f"{name}: is not a string of Unicode characters"


# ---------------------------------------------------------------------------------------------------------------------
# Times, numbers, money


@pytest.mark.parametrize(("topic", "name"), INSTANTS)
def test_instants_need_an_offset_and_a_year_from_2000_to_2100(topic: str, name: str) -> None:
    """The year as it is written; digits beyond the microsecond drop, they do not round."""

    def kept(written: str) -> str:
        return iso_instant(getattr(read(topic, {name: written}).standing, name))

    assert kept("2026-10-05t09:30:00.123456999z") == "2026-10-05T09:30:00.123456Z"
    assert kept("2000-01-01T00:00:00+14:00") == "1999-12-31T10:00:00.000000Z"
    assert kept("2100-12-31T23:59:59.9-12:00") == "2101-01-01T11:59:59.900000Z"
    for wrong in (
        "2026-10-05T09:30:00",
        "2026-10-05",
        "2026-10-05 09:30:00Z",
        " 2026-10-05T09:30:00Z",
        "2026-10-05T09:30Z",
    ):
        assert refused_field(topic, name, json.dumps(wrong)) == (
            f"{name}: {wrong!r} is not an RFC 3339 instant with an offset, like 2026-10-05T09:30:00+03:00"
        )
    assert refused_field(topic, name, '"2026-02-30T00:00:00Z"').endswith("is not a moment of the calendar")
    for year in (1999, 2101):
        assert refused_field(topic, name, f'"{year}-06-01T00:00:00Z"').endswith("is out of the years 2000 to 2100")
    assert refused_field(topic, name, "1759645800") == f"{name}: is not a string of Unicode characters"


@pytest.mark.parametrize(("topic", "name"), DAYS)
def test_dates(topic: str, name: str) -> None:
    """Only the end of a contract may lie in any year: CRMs write an open end as 9999-12-31."""
    assert iso_day(getattr(facts(topic, {name: "2028-02-29"}), name)) == "2028-02-29"
    for wrong in ("2026-1-5", "05.10.2026", "20261005", "2026-10-05T00:00:00Z", " 2026-10-05"):
        assert refused_field(topic, name, json.dumps(wrong)) == f"{name}: {wrong!r} is not a date like 2026-10-05"
    assert refused_field(topic, name, '"2026-02-29"') == f"{name}: '2026-02-29' is not a day of the calendar"
    for year in ("1999", "2101", "9999", "0001"):
        day = f"{year}-12-31"
        if name == "contract_ends_on":
            assert iso_day(getattr(facts(topic, {name: day}), name)) == day
        else:
            assert refused_field(topic, name, json.dumps(day)).endswith("is out of the years 2000 to 2100")
    assert refused_field(topic, name, '"0000-12-31"').startswith(f"{name}: '0000-12-31' is out of the years")


@pytest.mark.parametrize(("topic", "name", "least"), INTEGERS)
def test_integers(topic: str, name: str, least: int) -> None:
    """A number that is whole is an integer however it is written, to the last digit."""

    def kept(written: str) -> Any:
        event = read(topic, **{name: written})
        return event.standing.revision if name == "revision" else event.facts.recipient_count  # type: ignore[union-attr]

    for written, number in {
        "3": 3,
        "3.0": 3,
        "3e0": 3,
        "30e-1": 3,
        "1e18": 10**18,
        "9007199254740993.0": 2**53 + 1,
        "9223372036854775807": MAX_INTEGER,
        "9223372036854775807.00": MAX_INTEGER,
        str(least): least,
    }.items():
        assert kept(written) == number
    wrong = (
        "true",
        "false",
        '"3"',
        "3.5",
        "-1",
        str(least - 1),
        str(2**63),
        "1e19",
        "1e999999",
        "3.00000000000000000001",
    )
    for written in (*wrong, "1" * 5000, "1e99999999999999999999", "1e-999999999", "[3]"):
        shown = f"{name}: {written[:60]!r} is not an integer from {least} to {MAX_INTEGER}"
        assert refused_field(topic, name, written) == shown
    assert kept("-0") == 0 if least == 0 else refused_field(topic, name, "-0")


@pytest.mark.parametrize("topic", TOPICS)
def test_booleans(topic: str) -> None:
    """Only true and false."""
    assert read(topic, {"retracted": True}).standing.retracted
    assert not read(topic, {"retracted": False}).standing.retracted
    for written in ("1", "0", '"true"', "[]"):
        assert refused_field(topic, "retracted", written).endswith("is neither true nor false")


@pytest.mark.parametrize("topic", [QUOTE, DEAL])
def test_amounts_are_decimals_as_written(topic: str) -> None:
    """A JSON number never passes through a binary float."""
    for written, amount in {
        "0.1": "0.1",
        "10.005": "10.005",
        "1e3": "1000",
        "1150.10": "1150.1",
        '"1150."': "1150",
        '".5"': "0.5",
        '"007"': "7",
        '"\\u0031"': "1",
        "0": "0",
        "-0.0": "0",
        "0e999": "0",
        "9999999999.99": "9999999999.99",
        "1e-100": "0." + "0" * 99 + "1",
        AS_JAVA_WRITES_A_DOUBLE: AS_JAVA_WRITES_A_DOUBLE,
        '"1.' + "0" * 200 + '"': "1",
    }.items():
        assert facts(topic, amount=written).amount == amount
    for written in (
        '"1e3"',
        '"+1"',
        '" 1"',
        '"1 "',
        '"1_000"',
        '"1,000"',
        '"\u0661"',
        '"NaN"',
        '"Infinity"',
        '"-1"',
        '"."',
        '"1.2.3"',
    ):
        assert refused_field(topic, "amount", written).endswith(
            "is not an amount: write digits with at most one point, like 1150.00"
        )
    for written, words in {
        "-1": "is negative; to take back a sale, correct or retract its deal",
        "-1e-9": "is negative; to take back a sale, correct or retract its deal",
        "10000000000": "is not below 10^10",
        '"10000000000"': "is not below 10^10",
        "1e10": "is not below 10^10",
        "1e-101": "has more than 100 digits after the point",
        '"0.' + "1" * 101 + '"': "has more than 100 digits after the point",
        "1e-999999999": "has more than 100 digits after the point",
        "1e99999999999999999999": "has an exponent beyond all bounds",
        "true": "is neither a decimal string nor a number",
        "[1]": "is neither a decimal string nor a number",
    }.items():
        assert refused_field(topic, "amount", written) == f"amount: {written[:60]!r} {words}"


@pytest.mark.parametrize("topic", [QUOTE, DEAL])
def test_currencies_are_trimmed_and_upper_cased(topic: str) -> None:
    """Three letters; whether there is a rate is seen when the event is priced."""
    assert facts(topic, {"currency": " usd\t"}).currency == "USD"
    for written in ("EURO", "E", "€", "12A", "\u0415\u0412\u0420"):
        assert refused_field(topic, "currency", json.dumps(written)) == f"currency: {written!r} is not a code like EUR"
    assert refused_field(topic, "currency", "978") == "currency: is not a string of Unicode characters"


@pytest.mark.parametrize("outcome", ["lost", "open"])
@pytest.mark.parametrize("written", ["null", '""', '"n/a"', "-1", "1e999", "{}", '"\\ud800"', "true"])
def test_the_money_of_a_deal_that_is_not_won_is_not_read(outcome: str, written: str) -> None:
    """Not even to refuse it."""
    event = read(DEAL, {"outcome": outcome}, amount=written, currency=written)
    assert (event.facts.amount, event.facts.currency) == (None, None)  # type: ignore[union-attr]


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("written", ["null", '"x"', "-1", "1e999", "{}", '"\\ud800"', "true", json.dumps("\x00" * 300)])
def test_of_a_retraction_nothing_but_the_version_is_read(topic: str, written: str) -> None:
    """Whatever the other fields hold."""
    kind = EVENT_TYPES[topic]
    version = {*CrmEvent.__struct_fields__, kind.entity}
    others = {name: written for name in kind.__struct_fields__ if name not in version}
    assert len(others) >= 3
    ids = {name: MINIMAL[topic][name] for name in ("event_id", "occurred_at", kind.entity)} | {"retracted": True}
    bare = decode(topic, json.dumps(ids).encode())
    assert (bare.facts, bare.standing.home) == (None, "")
    assert read(topic, {"retracted": True}, **others) == bare


@pytest.mark.parametrize("name", ["event_id", "occurred_at", "recorded_at", "revision", "lead_id"])
def test_the_version_of_a_retraction_is_checked(name: str) -> None:
    """Without it the retraction could not be ordered."""
    refused_field(LEAD, name, "[]")
    assert refusal(message(LEAD, {"retracted": True}, **{name: "[]"})).detail.startswith(f"{name}: ")


# ---------------------------------------------------------------------------------------------------------------------
# An independent reader agrees

DEFINITIONS = Definitions(
    rates=(
        Rate(currency="USD", since=date(2026, 10, 1), per_euro=Decimal("1.1")),
        Rate(currency="RSD", since=date(2020, 1, 1), per_euro=Decimal("117.2")),
        Rate(currency="BTC", since=date(2020, 1, 1), per_euro=Decimal("0.00001")),
    )
)
RULES = Rules(DEFINITIONS)


def canonical_text(event: Event) -> str:
    """Give what was read of an event, as text."""
    return canonical(EVENT_TYPES[event.topic].entity, event.key, event.standing, event.facts).decode()


def ours(topic: str, value: bytes) -> tuple[str, int | None] | None:
    """Read and price an event our way; None where it is refused."""
    try:
        event = decode(topic, value)
        RULES.price(event.facts)
    except Refused:
        return None
    priced = isinstance(event.facts, QuoteFacts | DealFacts) and event.facts.amount is not None
    return canonical_text(event), event.facts.hundredths if priced else None  # type: ignore[union-attr]


def theirs(topic: str, value: bytes) -> tuple[str, int | None] | None:
    """Read and price an event the reference's way; None where it is refused."""
    try:
        event = read_event(topic, value, DEFINITIONS)
    except RefusedError:
        return None
    return event.canonical.decode(), event.hundredths


_text = st.one_of(
    st.text(max_size=8),
    st.text(alphabet=" \u00a0\x1c\x85\n\u200b\ufeff", max_size=3),
    st.sampled_from(
        ["x" * 100, "x" * 101, "x" * 200, "x" * 201, "e\u0301" * 100, "\u0958" * 51, " " * 250, "\u0345" * 101]
    ),
)
_years = st.sampled_from(["0000", "0001", "1999", "2000", "2026", "2100", "2101", "9999"])
_days = st.builds("{}-{:02}-{:02}".format, _years, st.integers(0, 13), st.integers(0, 32))
_offsets = st.sampled_from(["", "Z", "z", "+03:00", "-00:00", "+14:00", "+23:59", "-24:00", "+01:60", "+3:00", "+0300"])
_fractions = st.sampled_from(["", ".", ".5", ".1234567", ".9999999", "." + "1" * 40])
_instants = st.builds(
    "{}{}{:02}:{:02}:{:02}{}{}".format,
    _days,
    st.sampled_from("TTTt "),
    st.integers(0, 24),
    st.integers(0, 60),
    st.integers(0, 61),
    _fractions,
    _offsets,
)
_numbers = st.one_of(
    st.integers(-2, 12).map(str),
    st.integers(-(2**65), 2**65).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str),
    st.floats(-(10**11), 10**11).map(json.dumps),
    st.sampled_from(
        ["-0", "0e5", "1e3", "1E+03", "3.0", "30e-1", "1e400", "0.1", "10.005", "9999999999.99", "1e-90", "01"]
    ),
    st.sampled_from(
        ["9007199254740993.0", "9223372036854775807.0", "1e99999999999999999999", "0e99999999999999999999"]
    ),
    st.sampled_from(["+1", ".5", "1" * 4400]),
)


def _strings(texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Write texts as JSON, escaped or not."""
    return st.builds(lambda text, escaped: json.dumps(text, ensure_ascii=escaped), texts, st.booleans())


_words = st.sampled_from(
    [
        "won",
        "lost",
        "open",
        "expansion",
        "new_account",
        "returning",
        "EUR",
        " usd ",
        "BGN",
        "btc",
        "XXX",
        "\u017fek",
        "A1",
    ]
)
_odd = st.sampled_from(
    [
        "null",
        "null",
        "true",
        "false",
        "[]",
        "{}",
        "[null]",
        '"\\ud800"',
        '"a\\udc00b"',
        '"\\ud83d\\ude00"',
        '"\\\\ud800"',
        '"\x01"',
        '"\\x"',
        "",
    ]
)
_amount_strings = st.sampled_from(
    ["1150.00", ".5", "5.", "1e3", "+1", " 1", "1_0", "\u0661", "-1", "NaN", "9" * 10, "9" * 11, "0" * 50 + "1.10"]
)
_any_json = st.one_of(
    _strings(_text), _strings(_words), _strings(_days), _strings(_instants), _numbers, _strings(_amount_strings), _odd
)
_good: dict[str, st.SearchStrategy[str]] = {
    "occurred_at": st.sampled_from(
        ['"2026-10-05T23:30:00.1234567+03:00"', '"2026-09-30T22:00:00Z"', '"2019-01-01T00:00:00Z"']
    ),
    "recorded_at": st.just('"2026-11-05T23:30:00Z"'),
    "revision": st.sampled_from(["0", "1", "2.0"]),
    "retracted": st.sampled_from(["false", "false", "false", "true"]),
    "amount": st.one_of(_numbers, st.sampled_from(['"100"', "250", "10.005", '"33.335"'])),
    "currency": st.sampled_from(['"EUR"', '"eur "', '"USD"', '"RSD"', '"BTC"', '"BGN"']),
    "need": st.just('" crm\\u0000 "'),
    "recipient_count": st.just("2"),
    "expected_close_on": st.just('"2026-11-05"'),
    "contract_ends_on": st.just('"9999-12-31"'),
    "outcome": st.sampled_from(['"won"', '"won"', '"lost"', '"open"']),
    "category": st.just('"returning"'),
}
_plain = st.sampled_from(['"a"', '" b "', '"Мария"', '"e\\u0301"', '"\\ud83d\\ude00"'])


@st.composite
def _events(draw: st.DrawFn) -> tuple[str, bytes]:
    """Write events that are mostly right, with up to three fields that hold anything."""
    topic = draw(st.sampled_from(TOPICS))
    names = EVENT_TYPES[topic].__struct_fields__
    chosen = [name for name in names if name in MINIMAL[topic] or draw(st.booleans())]
    fields = [(name, draw(_good.get(name, _plain))) for name in chosen]
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 3]))):
        odd = (draw(st.sampled_from([*names, "note", "__class__", "id", "data", "\ud800"])), draw(_any_json))
        fields.insert(draw(st.integers(0, len(fields))), odd)
    written = ", ".join(f"{json.dumps(name)}: {text}" for name, text in fields)
    return topic, ("{" + written + "}").encode()


@settings(max_examples=2000, deadline=None)
@given(_events())
def test_the_reference_reads_and_refuses_the_same(event: tuple[str, bytes]) -> None:
    """Verdict, canonical bytes and converted amount; and nothing but Refused is ever raised."""
    assert ours(*event) == theirs(*event)


@settings(max_examples=1200, deadline=None)
@given(_events(), st.data())
def test_the_reference_refuses_the_same_damaged_bytes(event: tuple[str, bytes], data: st.DataObject) -> None:
    """One piece of an event is cut out and another put in its place."""
    topic, value = event
    begin = data.draw(st.integers(0, len(value)))
    end = data.draw(st.integers(begin, min(begin + 12, len(value))))
    pieces = st.one_of(
        st.binary(max_size=3),
        st.sampled_from([b'"', b"\\", b"{", b"}", b":", b"\\ud8", b"\\u0000", b"\xed\xa0\x80", b"e9", b"-"]),
    )
    damaged = value[:begin] + data.draw(pieces) + value[end:]
    assert ours(topic, damaged) == theirs(topic, damaged)


_loose_json = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)


@settings(max_examples=800, deadline=None)
@given(st.sampled_from(TOPICS), st.one_of(st.binary(max_size=40), _loose_json.map(msgspec.json.encode)))
def test_arbitrary_bytes_raise_nothing_but_refused(topic: str, value: bytes) -> None:
    """Whether or not they are JSON."""
    assert ours(topic, value) == theirs(topic, value)


def test_the_strategies_reach_both_verdicts() -> None:
    """A comparison in which everything is refused would show nothing."""
    seen: list[bool] = []

    @settings(max_examples=300, deadline=None, database=None)
    @given(_events())
    def look(event: tuple[str, bytes]) -> None:
        seen.append(theirs(*event) is None)

    run: Callable[[], None] = look
    run()
    assert 0.2 < sum(seen) / len(seen) < 0.8
