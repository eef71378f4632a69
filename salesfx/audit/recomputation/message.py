"""The JSON object of a message: strict UTF-8, at most 64 KiB, plain or in a CloudEvents 1.0 envelope."""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from salesfx.audit.recomputation.refusal import RefusedError

LONGEST_MESSAGE = 64 * 1024  # bytes
DEEPEST_NESTING = 100
STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{\]}]', re.DOTALL)

Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True)
class JsonNumber:
    """A JSON number as it was written: no binary float ever stands between the event and its amount."""

    text: str


def not_json(constant: str) -> object:
    """Python reads NaN and Infinity, JSON has no such thing."""
    raise RefusedError(f"{constant} is not JSON")


READER = json.JSONDecoder(parse_float=JsonNumber, parse_int=JsonNumber, parse_constant=not_json)


def read_message(value: bytes, headers: Headers = ()) -> dict[str, object]:
    """Read the event's object, out of its envelope where it has one."""
    raw = read_object(value)
    if any(name == "ce_specversion" for name, _ in headers):
        return out_of_binary(raw, headers)
    if given(raw, "specversion") is not None:
        return out_of_structured(raw)
    return raw


def out_of_binary(raw: dict[str, object], headers: Headers) -> dict[str, object]:
    """Complete an event by the attributes of its envelope, which are among the headers."""
    try:
        attributes = {name: (value or b"").decode("utf-8") for name, value in headers if name.startswith("ce_")}
    except UnicodeDecodeError as error:
        raise RefusedError("a header of the envelope is not UTF-8") from error
    if attributes["ce_specversion"] != "1.0":
        raise RefusedError("an envelope of another version")
    return completed(raw, attributes.get("ce_id"), attributes.get("ce_time"))


def out_of_structured(envelope: Mapping[str, object]) -> dict[str, object]:
    """Take the event out of the envelope around it."""
    if envelope["specversion"] != "1.0":
        raise RefusedError("an envelope of another version")
    raw = given(envelope, "data")
    if raw is None:
        packed = given(envelope, "data_base64")
        if not isinstance(packed, str):
            raise RefusedError("an envelope without data")
        try:
            raw = read_object(base64.b64decode(packed, validate=True))
        except ValueError as error:
            raise RefusedError("data_base64 is not base64") from error
    if not isinstance(raw, dict):
        raise RefusedError("the data is not a JSON object")
    return completed(raw, envelope.get("id"), envelope.get("time"))


def completed(raw: dict[str, object], event_id: object, time: object) -> dict[str, object]:
    """Let the envelope's id and time serve where the event lacks its own."""
    raw = dict(raw)
    if given(raw, "event_id") is None:
        raw["event_id"] = event_id
    if given(raw, "occurred_at") is None:
        raw["occurred_at"] = time
    return raw


def read_object(value: bytes) -> dict[str, object]:
    """Read the JSON object itself: at most 64 KiB of strict UTF-8."""
    if len(value) > LONGEST_MESSAGE:
        raise RefusedError("longer than 64 KiB")
    refuse_deep_nesting(value)
    try:
        raw = READER.decode(value.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise RefusedError("not JSON") from error
    if not isinstance(raw, dict):
        raise RefusedError("not a JSON object")
    return raw


def refuse_deep_nesting(value: bytes) -> None:
    """Refuse more than 100 levels of arrays and objects inside each other."""
    if value.count(b"[") + value.count(b"{") <= DEEPEST_NESTING:
        return
    depth = 0
    for piece in STRING_OR_BRACKET.findall(value):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(piece, 0)
        if depth > DEEPEST_NESTING:
            raise RefusedError("nested deeper than 100 levels")


def given(raw: Mapping[str, object], name: str) -> object:
    """Give the field's value, None where it is absent: null and blank are the same as absent, in every field."""
    value = raw.get(name)
    if isinstance(value, str) and value.strip() == "":
        return None
    return value
