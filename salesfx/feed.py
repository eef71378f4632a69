"""Whether events get all the way into the tables: what tells "fewer leads came" from "the feed is broken".

Decided from the marks that the workers leave with every commit (salesfx/tables/feed_marks.py). Tables without such marks,
because they were made before there were heartbeats, are never called broken.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

import msgspec

from salesfx.events import LeadCreated
from salesfx.heartbeat import FORGOTTEN_SECONDS, WORKER
from salesfx.tables.feed_marks import LAST_REFUSED, REFUSED_SHARE, heartbeats_in
from salesfx.tables.store import Snapshot

NOTHING_GETS_THROUGH_AFTER = timedelta(minutes=5)
"""More than two of the longest pauses between a worker's heartbeats, and longer than it takes to replace a worker."""
SILENT_AFTER = timedelta(minutes=10)
"""Time for an integration to be installed anew; a feed sends a heartbeat every minute."""
HEARD_WITHIN = timedelta(seconds=FORGOTTEN_SECONDS)
"""A feed that was silent for longer is taken for one that is out of use."""
MAINLY = 0.5
"""Share of a topic's last events that is refused where something is wrong with all of them, not with some."""
REFUSED_WITHIN = timedelta(days=1)
"""Refusals that are older say nothing of what would be refused now."""


class TroubleKind(StrEnum):
    """What can be wrong."""

    STUCK = "stuck"
    """Nothing of a topic gets into the tables."""
    SILENT = "silent"
    """A feed is not heard."""
    REFUSED = "refused"
    """Most events of a topic are refused."""


class Trouble(msgspec.Struct, frozen=True):
    """One thing that is wrong."""

    kind: TroubleKind
    name: str
    """Of the topic, or of the feed that is silent."""
    since: datetime
    """When it was last heard, or when an event was last refused; in the business time zone."""
    sentence: str
    """All of it, and what to do."""


def troubles(snapshot: Snapshot, now: datetime) -> Sequence[Trouble]:
    """Find what is wrong with the way of the events into the tables.

    Args:
        snapshot: Its marks are looked at; no table is needed.
        now: An aware datetime.

    Returns:
        Each thing that is wrong; empty where all is well, and where the tables know of no heartbeats yet.

    """
    heard = _heard(snapshot.marks)
    zone = ZoneInfo(msgspec.json.decode(snapshot.definitions)["timezone"])
    stuck = list(_stuck_topics(heard, now, zone))
    # Where nothing gets through, no feed can be heard.
    return [*stuck, *([] if stuck else _silent_feeds(heard, now, zone)), *_refusals(snapshot.marks, now, zone)]


def heard_feeds(snapshot: Snapshot) -> dict[str, datetime]:
    """Give when each feed was last heard, in whatever topic."""
    return _latest(_heard(snapshot.marks))


def _heard(marks: Mapping[str, str]) -> dict[tuple[str, str], datetime]:
    return {at: datetime.fromtimestamp(seconds, UTC) for at, seconds in sorted(heartbeats_in(marks).items())}


def _stuck_topics(heard: Mapping[tuple[str, str], datetime], now: datetime, zone: ZoneInfo) -> Iterator[Trouble]:
    for (topic, feed), moment in heard.items():
        if feed == WORKER and now - moment > NOTHING_GETS_THROUGH_AFTER:
            since = moment.astimezone(zone)
            yield Trouble(
                TroubleKind.STUCK,
                topic,
                since,
                f"What came into Kafka's topic {topic} since {_shown(since)} is not in the tables: no heartbeat of a "
                "worker got through since. No worker runs, or it is far behind, or Kafka or Redis is away.",
            )


def _silent_feeds(heard: Mapping[tuple[str, str], datetime], now: datetime, zone: ZoneInfo) -> Iterator[Trouble]:
    for feed, moment in _latest(heard).items():
        if feed != WORKER and SILENT_AFTER < now - moment <= HEARD_WITHIN:
            since = moment.astimezone(zone)
            sentence = f"The feed {feed} was last heard at {_shown(since)}; it should send a heartbeat every minute."
            yield Trouble(TroubleKind.SILENT, feed, since, sentence)


def _refusals(marks: Mapping[str, str], now: datetime, zone: ZoneInfo) -> Iterator[Trouble]:
    topic = LeadCreated.topic
    share = float(marks.get(f"{REFUSED_SHARE}|{topic}", "0"))
    last = datetime.fromtimestamp(float(marks.get(f"{LAST_REFUSED}|{topic}", "0")), zone)
    if share > MAINLY and now - last <= REFUSED_WITHIN:
        yield Trouble(
            TroubleKind.REFUSED,
            topic,
            last,
            f"{share:.0%} of the last events of {topic} were refused, the last one at {_shown(last)}: see "
            "`salesfx dead-letters`.",
        )


def _latest(heard: Mapping[tuple[str, str], datetime]) -> dict[str, datetime]:
    latest: dict[str, datetime] = {}
    for (_, feed), moment in heard.items():
        latest[feed] = max(moment, latest.get(feed, moment))
    return latest


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
