"""From the bytes of a message to an event whose fields are checked and normalised, to a heartbeat, or to a refusal.

The reader is tolerant: unknown fields are ignored, null and blank are the same as absent in every field. It is strict in
what it does read, and says which field is wrong and why.
"""

import re
import types
import typing
import unicodedata
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec

from salesfx import cloudevents
from salesfx.business_time import parse_day, parse_instant
from salesfx.events import (
    EVENT_TYPES,
    FIRST_YEAR,
    LAST_YEAR,
    MAX_ID,
    MAX_INTEGER,
    MAX_MESSAGE,
    MAX_NAME,
    MAX_NESTING,
    CrmEvent,
    DealClosed,
    LeadCreated,
    QuoteSent,
)
from salesfx.heartbeat import HEADER, Heartbeat, HeartbeatValue
from salesfx.lead import (
    DEAL,
    LEAD,
    QUOTE,
    DealFacts,
    Facts,
    LeadFacts,
    QuoteFacts,
    Standing,
    home_of_deal,
    home_of_quote,
)
from salesfx.money import parse_amount, parse_number
from salesfx.refusal import Reason, Refused

Headers = Sequence[tuple[str, bytes | None]]

KEPT_NEED = 200
"""Characters of a need that are read: whether there is one decides, so longer texts would only swell the records."""


class Event(msgspec.Struct, gc=False):
    """One version of one entity, ready to be merged."""

    topic: str
    key: str
    """The entity's own id."""
    standing: Standing
    facts: Facts | None
    """None for a retraction."""
    ref: str
    """Reference of the entity's record."""

    @property
    def message_key(self) -> str:
        """Key of its message in Kafka: the id of what it lives under, so that one worker has all of a lead's events."""
        return self.standing.home.partition(":")[2] or self.key


REF_PREFIX = {LeadCreated.topic: LEAD, QuoteSent.topic: QUOTE, DealClosed.topic: DEAL}
_RAW_ABSENT = msgspec.Raw(b"")
_ALWAYS_FITS = 18
"""Digits of an integer that is surely below 2^63."""
_ABSENT = frozenset((b"", b"null"))


def decode(topic: str, value: bytes | None, headers: Headers = (), partition: int = 0, offset: int = 0) -> Event:
    """Read one message.

    Args:
        topic: One of `salesfx.events.TOPICS`.
        value: The message's value: JSON, plain or in a CloudEvents 1.0 envelope.
        headers: The message's headers, which may carry a binary-mode CloudEvents envelope.
        partition: Where the message lies, kept as the origin of the version.
        offset: Likewise.

    Raises:
        Refused: The message cannot be used; reason and detail say why.

    """
    if not value:
        raise Refused(Reason.NO_VALUE, "the message is empty; to withdraw an entity publish it with retracted: true")
    _refuse_large(value)
    reader = _READERS[topic]
    wire = reader.parse(value)
    if headers and any(name == "ce_specversion" for name, _ in headers):
        cloudevents.fill_from_headers(wire, headers)
    elif wire.specversion is not None and _present(wire.specversion):
        envelope = wire
        wire = reader.parse(cloudevents.data_of(envelope))
        cloudevents.fill(wire, envelope.id, envelope.time)
    return _event(reader, wire, partition, offset)


def decode_heartbeat(value: bytes | None, headers: Headers) -> Heartbeat | None:
    """Read a message whose headers say that it is a heartbeat; None where they do not.

    Raises:
        Refused: It says so, and cannot be used.

    """
    names = [text for name, text in headers if name == HEADER]
    if not names:
        return None
    if not value:
        raise Refused(Reason.NO_VALUE, f"the heartbeat is empty; its value is a JSON object with {_HEARTBEAT_FIELDS}")
    _refuse_large(value)
    wire = _HEARTBEATS.parse(value)
    feed, sent_at = _name(wire.feed, "feed"), _instant(wire.sent_at, "sent_at")
    if feed is None or sent_at is None:
        missing = ", ".join(name for name, found in (("feed", feed), ("sent_at", sent_at)) if found is None)
        raise Refused(Reason.MISSING_FIELD, f"{missing}: absent, null or blank; a heartbeat has {_HEARTBEAT_FIELDS}")
    if names[-1] != feed.encode():
        raise Refused(Reason.INVALID_FIELD, f"feed: is {feed!r}, and the header {HEADER} says something else")
    return Heartbeat(feed, sent_at)


def _refuse_large(value: bytes) -> None:
    if len(value) > MAX_MESSAGE:
        raise Refused(Reason.TOO_LARGE, f"the message has {len(value)} bytes; at most {MAX_MESSAGE} are read")


def normalise_name(text: str | None, field: str) -> str | None:
    """Trim a source or salesperson and bring it to NFC; blank is absent.

    Raises:
        Refused: It has a control character or more than `MAX_NAME` characters.

    """
    if text is None:
        return None
    text = text.strip()
    if not (text.isascii() and text.isprintable()):
        # NFC takes seconds for a message full of accents, and no character of it is made of more than four.
        text = unicodedata.normalize("NFC", text) if len(text) <= 4 * MAX_NAME else text
        _refuse_control_characters(text, field)
    if len(text) > MAX_NAME:
        raise Refused(Reason.INVALID_FIELD, f"{field}: has {len(text)} characters; at most {MAX_NAME} are allowed")
    return text or None


_remembered_name = lru_cache(maxsize=10_000)(normalise_name)
_LONGEST_REMEMBERED = 2 * MAX_NAME
"""Characters as written, spaces around them included: what is remembered has a bound."""


def _event(reader: "_Reader", wire: Any, partition: int, offset: int) -> Event:
    key = _id(reader.id_of(wire), reader.entity)
    event_id = _id(wire.event_id, "event_id")
    occurred_at = _instant(wire.occurred_at, "occurred_at")
    if key is None or event_id is None or occurred_at is None:
        missing = [
            name
            for name, found in (("event_id", event_id), ("occurred_at", occurred_at), (reader.entity, key))
            if found is None
        ]
        raise Refused(Reason.MISSING_FIELD, f"{', '.join(missing)}: absent, null or blank")
    recorded_at = None if wire.recorded_at is None else _instant(wire.recorded_at, "recorded_at")
    revision = _integer(wire.revision, "revision", 0, 0)
    retracted = wire.retracted is not None and _boolean(wire.retracted, "retracted")
    standing = Standing(
        revision,
        occurred_at if recorded_at is None else recorded_at,
        event_id,
        occurred_at,
        retracted,
        "",
        partition,
        offset,
    )
    facts = None if retracted else reader.facts(wire, standing, key)
    return Event(reader.topic, key, standing, facts, reader.ref_prefix + key)


def _lead_facts(wire: Any, _standing: Standing, _key: str) -> LeadFacts:
    return LeadFacts(
        _name(wire.source, "source"),
        _name(wire.salesperson, "salesperson"),
        _id(wire.account_id, "account_id"),
    )


def _quote_facts(wire: Any, standing: Standing, key: str) -> QuoteFacts:
    try:
        lead_id = _id(wire.lead_id, "lead_id")
        standing.home = home_of_quote(key, lead_id)
        need = (_text(wire.need, "need") or "").strip()
        return QuoteFacts(
            standing.occurred_at,
            lead_id,
            _id(wire.account_id, "account_id"),
            _name(wire.salesperson, "salesperson"),
            _amount(wire.amount),
            _currency(wire.currency),
            need[:KEPT_NEED] or None,
            _integer(wire.recipient_count, "recipient_count", 1, 1),
            _day(wire.expected_close_on, "expected_close_on", FIRST_YEAR, LAST_YEAR),
        )
    except Refused:
        _need(wire, QuoteSent.needed, "")
        raise


def _deal_facts(wire: Any, standing: Standing, key: str) -> DealFacts:
    try:
        outcome = _choice(wire.outcome, "outcome", _OUTCOMES)
        won = outcome == "won"
        lead_id, quote_id = _id(wire.lead_id, "lead_id"), _id(wire.quote_id, "quote_id")
        standing.home = home_of_deal(key, lead_id, quote_id)
        return DealFacts(
            standing.occurred_at,
            lead_id,
            _id(wire.account_id, "account_id"),
            _name(wire.salesperson, "salesperson"),
            quote_id,
            outcome,
            _amount(wire.amount) if won else None,
            _currency(wire.currency) if won else None,
            _day(wire.contract_ends_on, "contract_ends_on", 1, 9999),
            _choice(wire.category, "category", _CATEGORIES) if _present(wire.category) else None,
        )
    except Refused:
        _need(wire, DealClosed.needed, "")
        if wire.outcome == "won":
            _need(wire, DealClosed.needed_where_won, " where the outcome is won")
        raise


def _need(wire: Any, names: tuple[str, ...], where: str) -> None:
    """Refuse a message for what it lacks, which is the better reason than any other."""
    missing = [name for name in names if not _present(getattr(wire, name))]
    if missing:
        raise Refused(Reason.MISSING_FIELD, f"{', '.join(missing)}: absent, null or blank{where}")


def _present(value: Any) -> bool:
    if isinstance(value, msgspec.Raw):
        return not _is_blank(bytes(value))
    return value is not None and not (isinstance(value, str) and not value.strip())


def _text(value: Any, field: str) -> str | None:
    return None if value is None else _string(value, field)


def _string(value: Any, field: str) -> str:
    if isinstance(value, str):
        return value
    raise Refused(Reason.INVALID_FIELD, f"{field}: is not a string of Unicode characters")


def _name(value: Any, field: str) -> str | None:
    if value is None:
        return None
    if value.__class__ is str and len(value) <= _LONGEST_REMEMBERED:
        return _remembered_name(value, field)
    return normalise_name(_text(value, field), field)


def _id(value: Any, field: str) -> str | None:
    if value is None:
        return None
    if value.__class__ is str and 0 < len(value) <= MAX_ID and value[0] != " " and value.isprintable():
        return value  # as almost always
    return normalise_id(_text(value, field), field)


def normalise_id(text: str | None, field: str) -> str | None:
    """Take an id exactly; blank is absent.

    Raises:
        Refused: It has a control character or more than `MAX_ID` characters.

    """
    if not text or text.isspace():
        return None
    if len(text) > MAX_ID:
        raise Refused(Reason.INVALID_FIELD, f"{field}: has {len(text)} characters; at most {MAX_ID} are allowed")
    if not text.isprintable():
        _refuse_control_characters(text, field)
    return text


def _refuse_control_characters(text: str, field: str) -> None:
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise Refused(Reason.INVALID_FIELD, f"{field}: has a control character")


def _instant(value: Any, field: str) -> int | None:
    return None if value is None else _when(value, field, parse_instant, FIRST_YEAR, LAST_YEAR)


def _day(value: Any, field: str, first_year: int, last_year: int) -> int | None:
    return None if value is None else _when(value, field, parse_day, first_year, last_year)


def _when(value: Any, field: str, parse: Callable[[str, int, int], int], first_year: int, last_year: int) -> int | None:
    text = _string(value, field)
    try:
        return parse(text, first_year, last_year)
    except ValueError as error:
        if not text.strip():
            return None
        raise _unusable(field, text, error) from None


def _amount(raw: msgspec.Raw) -> str:
    written = bytes(raw)
    try:
        return parse_amount(written)
    except ValueError as error:
        raise _unusable("amount", written.decode(errors="replace"), error) from None


def _unusable(field: str, written: str, error: ValueError) -> Refused:
    return Refused(Reason.INVALID_FIELD, f"{field}: {written[:60]!r} {error}")


def _currency(value: Any) -> str:
    if value.__class__ is str and len(value) <= _LONGEST_REMEMBERED:
        return _remembered_currency(value)
    return _currency_code(_text(value, "currency") or "")


def _currency_code(written: str) -> str:
    code = written.strip().upper()
    if not (len(code) == 3 and code.isascii() and code.isalpha()):  # noqa: PLR2004 - ISO 4217
        raise Refused(Reason.INVALID_FIELD, f"currency: {code[:60]!r} is not a code like EUR")
    return code


_remembered_currency = lru_cache(maxsize=10_000)(_currency_code)


def _integer(raw: msgspec.Raw, field: str, least: int, default: int) -> int:
    if raw is _RAW_ABSENT:
        return default
    written = bytes(raw)
    if written.isdigit() and len(written) <= _ALWAYS_FITS and int(written) >= least:
        return int(written)
    if _is_blank(written):
        return default
    try:
        number = parse_number(written)
    except ValueError:
        number = Decimal("NaN")
    # The comparison comes first: a number of a few characters may have a billion digits.
    if not (number.is_finite() and least <= number <= MAX_INTEGER and number == int(number)):
        shown = written.decode()[:60]
        raise Refused(Reason.INVALID_FIELD, f"{field}: {shown!r} is not an integer from {least} to {MAX_INTEGER}")
    return int(number)


def _boolean(value: Any, field: str) -> bool:
    if value is None or value is False or (isinstance(value, str) and not value.strip()):
        return False
    if value is True:
        return True
    raise Refused(Reason.INVALID_FIELD, f"{field}: {str(value)[:60]!r} is neither true nor false")


def _choice(value: Any, field: str, choices: tuple[str, ...]) -> str:
    text = _text(value, field)
    if text is not None and text in choices:
        return text
    raise Refused(Reason.INVALID_FIELD, f"{field}: {str(text)[:60]!r} is none of {', '.join(choices)}")


def _choices(event_type: type[CrmEvent], field: str) -> tuple[str, ...]:
    def literals(annotation: Any) -> list[str]:
        if typing.get_origin(annotation) is typing.Literal:
            return list(typing.get_args(annotation))
        return [text for inner in typing.get_args(annotation) for text in literals(inner)]

    return tuple(literals(typing.get_type_hints(event_type, include_extras=True)[field]))


_OUTCOMES = _choices(DealClosed, "outcome")
_CATEGORIES = _choices(DealClosed, "category")


class _Parser:
    """Reads the JSON objects of one kind."""

    def __init__(self, kind: type[msgspec.Struct]) -> None:
        self._decoder = msgspec.json.Decoder(_wire_type(kind))
        self._raw_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
        self._names = frozenset(self._decoder.type.__struct_fields__)

    def parse(self, value: bytes) -> Any:
        """Read the JSON object; a field of a wrong type is found where it is read."""
        # Almost all messages have one brace and no bracket.
        if (value.count(b"{") > 1 or b"[" in value) and is_nested_too_deeply(value):
            raise Refused(Reason.NOT_JSON, f"the JSON is nested deeper than {MAX_NESTING} levels")
        try:
            if not value.isascii():
                value.decode()
            try:
                return self._decoder.decode(value)
            except msgspec.DecodeError:
                return self._parse_loosely(value)
        except msgspec.ValidationError as error:
            raise Refused(Reason.NOT_JSON, f"the value is not a JSON object: {error}") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Refused(Reason.NOT_JSON, f"the value is not JSON in UTF-8: {error}") from None

    def _parse_loosely(self, value: bytes) -> Any:
        """Read again with every field on its own: a retraction's other fields are not read, blank ones are absent."""
        if _SURROGATE.search(value):
            value = _without_half_characters(value)
        wire = self._decoder.type()
        for name, raw in self._raw_decoder.decode(value).items():
            if name in self._names:
                setattr(wire, name, raw if name in _KEPT_RAW else _value(raw))
        return wire


class _Reader(_Parser):
    """Reads the events of one topic."""

    def __init__(self, event_type: type[CrmEvent], facts: Callable[[Any, Standing, str], Facts]) -> None:
        super().__init__(event_type)
        self.topic, self.entity = event_type.topic, event_type.entity
        self.ref_prefix = REF_PREFIX[event_type.topic]
        self.id_of = attrgetter(event_type.entity)
        self.facts = facts


_KEPT_RAW = ("amount", "revision", "recipient_count", "data")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_COLON = re.compile(rb"[ \t\r\n]*:")
_BRACKET = re.compile(rb"[\[{\]}]")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_HALF_CHARACTER = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


def is_nested_too_deeply(value: bytes) -> bool:
    """Tell whether JSON has more levels than `MAX_NESTING`: the parser's own bound depends on Python's version."""
    if value.count(b"[") + value.count(b"{") <= MAX_NESTING:
        return False
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", value)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MAX_NESTING:
            return True
    return False


def _without_half_characters(value: bytes) -> bytes:
    """Put an array, which no field may be, around every string that had a lone surrogate.

    CRMs that cut a text in the middle of an emoji write such strings. The parser refuses the whole message for one, even
    in a field that nobody reads.
    """

    def mended(string: re.Match[bytes]) -> bytes:
        whole = _HALF_CHARACTER.sub(lambda escape: escape[0] if escape[1] is None else b"\\ufffd", string[0])
        is_name = _COLON.match(value, string.end()) is not None
        return whole if is_name or whole == string[0] else b"[" + whole + b"]"

    return _STRING.sub(mended, value)


def _value(raw: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(raw)
    except msgspec.ValidationError:
        return raw  # a number beyond any use: refused where, and only where, the field is read


def _is_blank(raw: bytes) -> bool:
    return raw in _ABSENT or (raw.startswith(b'"') and not msgspec.json.decode(raw, type=str).strip())


def _wire_type(event_type: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """Derive what is read off the wire: every field may be absent or null, and values are checked by us, with words."""
    plain: dict[Any, Any] = {datetime: str, date: str, Decimal: msgspec.Raw, int: msgspec.Raw}

    def wire(annotation: Any) -> Any:
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated:
            return wire(typing.get_args(annotation)[0])
        if origin in {typing.Union, types.UnionType}:
            return next(wire(inner) for inner in typing.get_args(annotation) if inner is not type(None))
        if origin is typing.Literal:
            return str
        return plain.get(annotation, annotation)

    fields: list[Any] = []
    hints = typing.get_type_hints(event_type, include_extras=True)
    for field in msgspec.structs.fields(event_type):
        kind = wire(hints[field.encode_name])
        if kind is msgspec.Raw:
            fields.append((field.encode_name, kind, _RAW_ABSENT))
        else:
            fields.append((field.encode_name, kind | None, None))
    # Of a plain event these are unknown fields, so that they may be anything.
    envelope = [(name, Any, None) for name in ("specversion", "id", "time", "data_base64")]
    return msgspec.defstruct(
        event_type.__name__ + "Wire", [*fields, *envelope, ("data", msgspec.Raw, _RAW_ABSENT)], gc=False
    )


_READERS = {
    topic: _Reader(EVENT_TYPES[topic], facts)
    for topic, facts in (
        (LeadCreated.topic, _lead_facts),
        (QuoteSent.topic, _quote_facts),
        (DealClosed.topic, _deal_facts),
    )
}
_HEARTBEATS = _Parser(HeartbeatValue)
_HEARTBEAT_FIELDS = "feed and sent_at"
