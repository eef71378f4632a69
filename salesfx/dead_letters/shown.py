"""Dead letters as text for people, whatever bytes they hold, and as JSON for programs."""

import base64
import contextlib
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from salesfx.dead_letters.content import Content, Judge, only_worker_can_tell
from salesfx.dead_letters.ledger import Ledger, Status
from salesfx.dead_letters.letter import Letter, Mark, Place
from salesfx.decoder import is_nested_too_deeply
from salesfx.events import MAX_MESSAGE
from salesfx.reading.shown import printable

MAX_SHOWN = 4000
"""Characters of a value that are shown to people."""
_PLACES_ON_THE_WAY = 100
"""Replays of replays that are followed."""


def shown_bytes(raw: bytes | None) -> str:
    """Write bytes for people: as text, what is not UTF-8 as escapes."""
    return "none" if raw is None else printable(raw.decode(errors="backslashreplace"))


def shown_value(raw: bytes | None) -> str:
    """Write an event's value for people: JSON with indents where it is JSON; bounded."""
    if not raw:
        return "none" if raw is None else "empty"
    text = _formatted(raw)
    lines = "\n".join(printable(line) for line in text[:MAX_SHOWN].split("\n"))
    more = len(text) - MAX_SHOWN
    return lines if more <= 0 else f"{lines}\n... and {more:,} characters more; --json shows them"


def _formatted(raw: bytes) -> str:
    # Beyond what an event may be, indents may take a thousand times the room of the value.
    if len(raw) <= MAX_MESSAGE and not is_nested_too_deeply(raw):
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return msgspec.json.format(raw, indent=2).decode()
    return raw.decode(errors="backslashreplace")


def local_time(milliseconds: int, zone: ZoneInfo) -> str:
    """Write a time of Kafka's in a time zone, like 2026-11-23 15:04:05."""
    return _moment(milliseconds).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def as_rfc3339(milliseconds: int) -> str:
    """Write a time of Kafka's in UTC, like 2026-11-23T13:04:05.123Z."""
    return _moment(milliseconds).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def summary_json(ledger: Ledger, key: str, letter: Letter | None) -> dict[str, Any]:
    """Give a letter as an element of `list --json`."""
    entry = ledger.letters[key]
    replayed_to = _last_replay(ledger, key)
    return {
        "key": key,
        "refused_at": as_rfc3339(entry.when),
        "topic": entry.origin.topic,
        "partition": entry.origin.partition,
        "offset": entry.origin.offset,
        "reason": entry.reason,
        "detail": None if letter is None else letter.detail,
        "status": ledger.status(key),
        "replayed_to": None if replayed_to is None else str(replayed_to),
        "replay_of": None if letter is None else letter.replay_of,
    }


def letter_json(ledger: Ledger, letter: Letter, usable: dict[str, Any]) -> dict[str, Any]:
    """Give a letter with everything, as `show --json` prints it."""
    key = str(letter.origin)
    return {
        **summary_json(ledger, key, letter),
        "repeats": ledger.letters[key].repeats,
        "history": [_mark_json(ledger, key, mark) for mark in ledger.marks(key)],
        "earlier_events": ledger.earlier_events(key),
        "usable_now": usable,
        "event": {
            "key": _bytes_json(letter.key),
            "headers": [{"name": name, "value": _bytes_json(value)} for name, value in letter.headers],
            "value": _bytes_json(letter.value),
            "truncated": letter.truncated,
            "headers_dropped": letter.headers_dropped,
        },
    }


def usable_json(letter: Letter, content: Content, judge: Judge) -> dict[str, Any]:
    """Tell whether a letter's event could be used now, and why not; null where only the worker can tell."""
    objection = judge.objection(letter, content)
    if objection is None and only_worker_can_tell(letter):
        return {"usable": None, "detail": "whether its lead or account has a place left only the worker can tell"}
    return {"usable": objection is None, "detail": objection}


def history_lines(ledger: Ledger, key: str, zone: ZoneInfo) -> list[str]:
    """Tell what became of a letter, and of what became of it, a line each."""
    lines = [f"{local_time(ledger.letters[key].when, zone)}  refused"]
    for mark in ledger.marks(key):
        when = local_time(mark.when, zone)
        if mark.replayed_to is None:
            lines.append(f"{when}  dropped" + (f": {printable(mark.note)}" if mark.note else ""))
        else:
            lines.append(f"{when}  published again as {mark.replayed_to}: {_fate(ledger, key, mark.replayed_to)}")
    return lines


def newest_replay(ledger: Ledger, key: str) -> str:
    """Follow a letter over the letters of its replays to the last one."""
    for _ in range(_PLACES_ON_THE_WAY):
        place = _last_replay(ledger, key)
        if place is None or not ledger.is_refused_again(key, place):
            break
        key = str(place)
    return key


def _fate(ledger: Ledger, key: str, place: Place) -> str:
    status = ledger.status_of_replay(key, place)
    if status is not Status.REFUSED_AGAIN:
        return status.replace("_", " ")
    last = newest_replay(ledger, str(place))
    return f"refused again, and that letter is {ledger.status(last).replace('_', ' ')}: {last}"


def _last_replay(ledger: Ledger, key: str) -> Place | None:
    return next((mark.replayed_to for mark in reversed(ledger.marks(key)) if mark.replayed_to is not None), None)


def _mark_json(ledger: Ledger, key: str, mark: Mark) -> dict[str, Any]:
    place = mark.replayed_to
    return {
        "at": as_rfc3339(mark.when),
        "disposition": mark.disposition,
        "replayed_to": None if place is None else str(place),
        "status": None if place is None else ledger.status_of_replay(key, place),
        "note": mark.note,
    }


def _bytes_json(raw: bytes | None) -> dict[str, str] | None:
    if raw is None:
        return None
    try:
        return {"text": raw.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode()}


def _moment(milliseconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):  # a topic that is not ours to set up may hold any number
        return datetime.fromtimestamp(0, UTC)
