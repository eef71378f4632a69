"""The version that stands for an entity by the records, as it is compared with the log's."""

from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

from salesfx.events import EVENT_TYPES, MAX_INTEGER, DealClosed, LeadCreated, QuoteSent
from salesfx.lead import DEAL, LEAD, QUOTE, Facts, LeadFacts, Standing, canonical

_TOPIC_OF = {LEAD: LeadCreated.topic, QUOTE: QuoteSent.topic, DEAL: DealClosed.topic}


class Version(NamedTuple):
    """The version that stands for an entity by the records."""

    topic: str
    id: str
    revision: int
    recorded_at: int
    """Microseconds since 1970."""
    event_id: str
    retracted: bool
    partition: int
    offset: int
    content: bytes | None
    """The digest; None where no lead holds the content."""


Sink = Callable[[Version], None]
"""Told the version that stands for each entity."""


def digest(content: bytes, hundredths: int | None) -> bytes:
    """Shorten a version's content, so that a million can be kept.

    Args:
        content: Its canonical bytes.
        hundredths: Its amount in the reporting currency; None where it has none.

    """
    return blake2b(b"%d " % (hundredths or 0) + content, digest_size=16).digest()


def version_of(ref: str, standing: Standing, facts: Facts | None) -> Version:
    """Give an entity's version with its content.

    Args:
        ref: The entity's reference.
        standing: Its version.
        facts: Its content; None for a retraction.

    Raises:
        ValueError, OverflowError: It holds what no event can say.

    """
    kind, _, key = ref.partition(":")
    topic = _TOPIC_OF[kind + ":"]
    content = canonical(EVENT_TYPES[topic].entity, key, standing, facts)
    hundredths = None if facts is None or isinstance(facts, LeadFacts) else facts.hundredths
    return version_without_content(ref, standing)._replace(content=digest(content, hundredths))


def version_without_content(ref: str, standing: Standing) -> Version:
    """Give an entity's version of which the content is not known; otherwise like `version_of`."""
    kind, _, key = ref.partition(":")
    for name in ("revision", "partition", "offset"):
        if not 0 <= getattr(standing, name) <= MAX_INTEGER:
            raise ValueError(f"{name}: {getattr(standing, name)} is out of 0 to {MAX_INTEGER}")
    if abs(standing.recorded_at) > MAX_INTEGER:
        raise ValueError(f"recorded_at: {standing.recorded_at} is no instant")
    return Version(
        topic=_TOPIC_OF[kind + ":"],
        id=key,
        revision=standing.revision,
        recorded_at=standing.recorded_at,
        event_id=standing.event_id,
        retracted=standing.retracted,
        partition=standing.partition,
        offset=standing.offset,
        content=None,
    )
