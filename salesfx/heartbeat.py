"""Heartbeats: messages that say that a feed lives, and count nowhere.

A heartbeat lies in an event's topic like any other message, so that it goes the whole way of the events: Kafka, the worker,
Redis. A header tells it apart. Without heartbeats "no leads came" and "nothing gets through" look the same.

Each feed sends one to every topic, keyed by the feed's name, so to one partition. A worker reads all of its partitions by one
loop, so one partition tells of Kafka, the worker and Redis; what is wrong with a single other partition is told by its lag,
which costs no message. A topic with a thousand partitions would otherwise get a thousand messages a minute.
"""

from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from salesfx.events import Instant, Name

HEADER = "salesfx_heartbeat"
"""Its value is the feed's name. A message that has it is a heartbeat, or nothing that can be used; never an event."""
WORKER = "worker"
"""The feed of `salesfx worker` itself."""
SECONDS = 60.0
"""Between two heartbeats of a feed."""
MOST_FEEDS = 20
"""Most feeds of one topic that are remembered, beside the worker's: neither Redis nor a label grows with made-up names."""
FORGOTTEN_SECONDS = 7 * 24 * 3600
"""A feed that was not heard for so long may be taken out of use: nobody misses it, and it gives way to another one."""


class HeartbeatValue(msgspec.Struct, kw_only=True):
    """The JSON value of a heartbeat."""

    feed: Name
    """As in the header."""
    sent_at: Instant


class Heartbeat(NamedTuple):
    """A heartbeat as it was read."""

    feed: str
    sent_at: int
    """Microseconds since 1970."""


class Message(NamedTuple):
    """A heartbeat as it is sent."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def message(feed: str, now: datetime) -> Message:
    """Write a heartbeat.

    Args:
        feed: A usable name, as `salesfx.decoder.normalise_name` gives it.
        now: An aware datetime.

    """
    name = feed.encode()
    value = msgspec.json.encode(HeartbeatValue(feed=feed, sent_at=now.astimezone(UTC)))
    return Message(name, value, [(HEADER, name)])
