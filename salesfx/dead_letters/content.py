"""What is published when a letter is replayed, and whether it could be used now."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from salesfx.dead_letters.letter import REPLAY_OF, Headers, Letter, Place
from salesfx.decoder import decode, decode_heartbeat
from salesfx.refusal import Reason, Refused
from salesfx.rules import Rules


class UnfaithfulError(Exception):
    """The event cannot be published as it was: the letter has not all of it, and the log has it no more."""


class Content(msgspec.Struct, frozen=True):
    """An event as it was."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    from_log: bool = False
    """Read where it lies, because the letter has not all of it."""


class Judge:
    """Tells whether an event could be used now, as far as the settings decide that."""

    def __init__(self, rules: Rules, topics: Mapping[str, str]) -> None:
        """Make one.

        Args:
            rules: What events mean under the settings in force.
            topics: Our names of the event topics, by the names that they have in Kafka.

        """
        self._rules = rules
        self._topics = topics

    def objection(self, letter: Letter, content: Content) -> str | None:
        """Say why an event could still not be used: reason and detail; None where it could.

        Whether its lead or account has a place left (`too_many_entities`) only the worker can tell.
        """
        topic = self._topics.get(letter.origin.topic)
        if topic is None:
            return f"{letter.origin.topic} is no topic of these settings; is topic_prefix right?"
        try:
            if decode_heartbeat(content.value, content.headers) is None:
                self._rules.price(decode(topic, content.value, content.headers).facts)
        except Refused as refused:
            return str(refused)
        return None


def only_worker_can_tell(letter: Letter) -> bool:
    """Tell whether a letter's reason lies in the tables, not in the event and the settings."""
    return letter.reason == Reason.TOO_MANY_ENTITIES


def content_of(letter: Letter, original: Callable[[Place], Any | None]) -> Content:
    """Give an event as it was.

    Args:
        letter: Of the event.
        original: Reads what lies at a place of the log; asked only where the letter has not all of it.

    Raises:
        UnfaithfulError: The letter has not all of it, and the log has not the same any more.

    """
    if not (letter.truncated or letter.headers_dropped or letter.key_cut):
        return Content(letter.key, letter.value, letter.headers)
    lacking = _lacking(letter)
    record = original(letter.origin)
    if record is None:
        raise UnfaithfulError(f"{lacking}, and Kafka has nothing at {letter.origin} any more, where the original lay")
    if not _is_original(letter, record):
        raise UnfaithfulError(f"{lacking}, and at {letter.origin}, where the original lay, Kafka has another message")
    return Content(record.key, record.value, [(name, value or b"") for name, value in record.headers], from_log=True)


def replayed_headers(letter: Letter, content: Content) -> Headers:
    """Give the headers of the event that is published again: its own, and of which letter it is a replay."""
    own = [(name, value) for name, value in content.headers if name != REPLAY_OF]
    return [*own, (REPLAY_OF, str(letter.origin).encode())]


def _lacking(letter: Letter) -> str:
    if letter.truncated:
        return "the letter has only the beginning of the value"
    return (
        "the letter lacks the headers"
        if letter.headers_dropped
        else "the letter may have only the beginning of the key"
    )


def _is_original(letter: Letter, record: Any) -> bool:
    key, value = record.key, record.value
    same_key = key == letter.key or (letter.key_cut and key is not None and key.startswith(letter.key or b""))
    same_value = value == letter.value or (
        letter.truncated and value is not None and value.startswith(letter.value or b"")
    )
    return bool(same_key and same_value)
