"""The form of what stands in the dead-letter topic: letters, and marks of what became of them. Pure.

A letter is an event that could not be used, as it came, with its reason and its origin in headers. A mark has the key of
its letter and no value; its headers say that the letter was replayed, and where to, or dropped. docs/dead-letters.md is
for people who read the topic directly.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

import msgspec

from salesfx.refusal import Refused

MAX_DETAIL = 1000
"""Characters of a refusal's detail that are kept."""
MAX_HEADERS = 64 * 1024
"""Headers of the event that are kept, in bytes, and so much of its key; a greater load is dropped, and a header says so."""
KEPT_OF_TOO_LARGE = 64 * 1024
"""Bytes that are kept of a value that Kafka does not take whole."""
REPLAY_OF = "salesfx_replay_of"
"""Header of an event that was published again: the key of the letter that it was published from."""
TRUNCATED = ("truncated", b"true")
HEADERS_DROPPED = ("headers_dropped", b"true")
REPLAYED, DROPPED = "replayed", "dropped"

_REASON, _DETAIL, _TOPIC, _PARTITION, _OFFSET, _KEY = "reason", "detail", "topic", "partition", "offset", "key"
_ITS_HEADER = "header:"
_ITS_REPLAY_OF = _ITS_HEADER + REPLAY_OF
_DISPOSITION, _REPLAYED_TO, _NOTE = "disposition", "replayed_to", "note"
_TIMESTAMP = "timestamp"
_MAX_DIGITS = 19
_TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")
"""Kafka's own rule. It keeps what a terminal would obey out of every place that is shown."""
_DIGEST_BYTES = 16

Headers = list[tuple[str, bytes]]


class Place(NamedTuple):
    """Where a record lies in Kafka."""

    topic: str
    """As Kafka names it."""
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}-{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read topic-partition-offset; None where it is something else."""
        topic, *numbers = text.rsplit("-", 2)
        if len(numbers) != 2 or not all(_is_number(number) for number in numbers):  # noqa: PLR2004 - the form
            return None
        if _TOPIC_NAME.fullmatch(topic) is None:
            return None
        place = cls(topic, int(numbers[0]), int(numbers[1]))
        return place if str(place) == text else None  # 01 is another text for the same place


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One event that could not be used."""

    origin: Place
    """Where the event lies; written out it is the letter's key."""
    reason: str
    """Slug of `salesfx.refusal.Reason`; a newer salesfx may have written one that this one does not know."""
    detail: str
    value: bytes | None
    """Of the event, of which only the beginning is here where it is `truncated`."""
    key: bytes | None
    """Of the event."""
    headers: Headers
    """Of the event, as they came."""
    truncated: bool
    headers_dropped: bool

    @property
    def key_cut(self) -> bool:
        """Whether the event's key may have been longer than what is kept."""
        return self.key is not None and len(self.key) >= MAX_HEADERS

    @property
    def replay_of(self) -> str | None:
        """Key of the letter from which this event was published again, where it says so."""
        return next((value.decode(errors="replace") for name, value in self.headers if name == REPLAY_OF), None)


class Origin(NamedTuple):
    """What the ledger needs to know of a letter."""

    place: Place
    reason: str
    digest: bytes
    """Of its event: as long as the log is the same, a place has one event, and all its letters have this digest."""
    replay_of: str | None
    """Key of the letter from which its event was published again, where it says so."""


class Mark(msgspec.Struct, frozen=True, gc=False):
    """What was done with a letter."""

    when: int
    """Kafka's timestamp, in milliseconds since 1970."""
    partition: int
    """Of the dead-letter topic."""
    offset: int
    disposition: str
    """`REPLAYED` or `DROPPED`."""
    replayed_to: Place | None = None
    note: str | None = None

    @property
    def order(self) -> tuple[int, int, int]:
        """What comes later is greater."""
        return self.when, self.partition, self.offset


def letter_key(origin: Place) -> bytes:
    """Give the key by which a repeat of a letter is recognised, and its marks: topic-partition-offset of the event."""
    return str(origin).encode()


def letter_headers(
    origin: Place,
    key: bytes | None,
    headers: Iterable[tuple[str, bytes | None]],
    refused: Refused,
    timestamp: int | None = None,
) -> Headers:
    """Give a letter's headers: reason and origin, then the event's own key and headers, so that it can be replayed.

    Args:
        origin: Where the event lies.
        key: The event's own.
        headers: The event's own.
        refused: Why it cannot be used.
        timestamp: Kafka's, of the event, in milliseconds since 1970. It tells the event from another one that lay at
            the same place of a log that is gone, even from one with the same content.

    """
    ours: Headers = [
        (_REASON, refused.reason.encode()),
        (_DETAIL, refused.detail[:MAX_DETAIL].encode(errors="replace")),
        (_TOPIC, origin.topic.encode()),
        (_PARTITION, str(origin.partition).encode()),
        (_OFFSET, str(origin.offset).encode()),
    ]
    if key is not None:
        ours.append((_KEY, key[:MAX_HEADERS]))
    if timestamp is not None:
        ours.append((_TIMESTAMP, str(timestamp).encode()))
    theirs = [(_ITS_HEADER + name, value or b"") for name, value in headers]
    if sum(len(name) + len(value) for name, value in theirs) > MAX_HEADERS:
        # What became of the letter that this one is a replay of is told by this header.
        kept = [(name, value) for name, value in theirs if name == _ITS_REPLAY_OF and _is_place(value)]
        return [*ours, HEADERS_DROPPED, *kept[:1]]
    return [*ours, *theirs]


def mark_headers(replayed_to: Place | None = None, note: str | None = None) -> Headers:
    """Give the headers of a mark: replayed where it says where to, else dropped."""
    if replayed_to is not None:
        return [(_DISPOSITION, REPLAYED.encode()), (_REPLAYED_TO, str(replayed_to).encode())]
    said = [] if note is None else [(_NOTE, note[:MAX_DETAIL].encode(errors="replace"))]
    return [(_DISPOSITION, DROPPED.encode()), *said]


def read_origin(record: Any) -> Origin | None:
    """Tell where a letter's event lies, why it was refused, and which event it is; None where the record is no letter.

    Args:
        record: kafka-python's or aiokafka's, of the dead-letter topic.

    """
    found = _ours(record.headers)
    reason, topic = found.get(_REASON), found.get(_TOPIC)
    key = _text(record.key)
    if reason is None or topic is None or key is None or _DISPOSITION in found:
        return None
    origin = Place.parse(key)
    if origin is None or origin != (topic, _number(found.get(_PARTITION)), _number(found.get(_OFFSET))):
        return None
    return Origin(origin, reason, _digest(record), found.get(_ITS_REPLAY_OF))


def read_letter(record: Any) -> Letter | None:
    """Read a letter; None where the record is none.

    Args:
        record: kafka-python's or aiokafka's, of the dead-letter topic.

    """
    read = read_origin(record)
    if read is None:
        return None
    # The worker writes each of its own headers once, before those of the event, which all have a prefix.
    ours = {name: value for name, value in reversed(record.headers) if not name.startswith(_ITS_HEADER)}
    return Letter(
        origin=read.place,
        reason=read.reason,
        detail=(ours.get(_DETAIL) or b"").decode(errors="replace"),
        value=record.value,
        key=ours.get(_KEY),
        headers=[
            (name.removeprefix(_ITS_HEADER), value or b"")
            for name, value in record.headers
            if name.startswith(_ITS_HEADER)
        ],
        truncated=TRUNCATED[0] in ours,
        headers_dropped=HEADERS_DROPPED[0] in ours,
    )


def read_mark(record: Any) -> tuple[str, Mark] | None:
    """Read a mark and the key of its letter; None where the record is no mark.

    Args:
        record: kafka-python's or aiokafka's, of the dead-letter topic.

    """
    found = _ours(record.headers)
    key, disposition, to = _text(record.key), found.get(_DISPOSITION), found.get(_REPLAYED_TO)
    if key is None or Place.parse(key) is None or disposition not in {REPLAYED, DROPPED}:
        return None
    replayed_to = None if to is None else Place.parse(to)
    if (disposition == REPLAYED) != (replayed_to is not None):
        return None
    at = record.timestamp, record.partition, record.offset
    return key, Mark(*at, disposition, replayed_to, found.get(_NOTE))


def _digest(record: Any) -> bytes:
    """Digest what a letter holds of its event: not the reason, which another salesfx may word in another way."""
    kept = [each for each in record.headers if each[0] in _OF_EVENT or each[0].startswith(_ITS_HEADER)]
    # As MessagePack, which keeps apart what stands on the two sides of a border.
    return hashlib.blake2b(msgspec.msgpack.encode((kept, record.value)), digest_size=_DIGEST_BYTES).digest()


_OF_EVENT = frozenset((_KEY, _TIMESTAMP))
_READ = frozenset((_REASON, _TOPIC, _PARTITION, _OFFSET, _DISPOSITION, _REPLAYED_TO, _NOTE, _ITS_REPLAY_OF))


def _ours(headers: Sequence[tuple[str, bytes | None]]) -> dict[str, str | None]:
    """Give what is read to tell what a record is; of a name that stands twice the first."""
    return {name: _text(value) for name, value in reversed(headers) if name in _READ}


def _text(raw: bytes | None) -> str | None:
    try:
        return None if raw is None else raw.decode()
    except UnicodeDecodeError:
        return None


def _is_place(raw: bytes) -> bool:
    text = _text(raw)
    return text is not None and Place.parse(text) is not None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS


def _number(text: str | None) -> int:
    return int(text) if text is not None and _is_number(text) else -1
