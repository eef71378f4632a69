"""The marks that tell of the feeds, where a new one depends on those that are there: commit.lua does the same in Redis.

`last_heartbeat|TOPIC|FEED` is when the newest heartbeat of a feed was made, in Unix time. `refused_share|TOPIC` is the share
of the topic's last events that was refused, from 0 to 1.
"""

from collections.abc import Mapping, Sequence

from salesfx.heartbeat import FORGOTTEN_SECONDS, MOST_FEEDS, WORKER

LAST_HEARTBEAT, REFUSED_SHARE, LAST_REFUSED = "last_heartbeat", "refused_share", "last_refused"
_KEPT = 0.9
"""Weight of an event beside the one that came after it: the share is about that of the last ten events."""
_LEAST_SHARE = 0.001
"""A smaller one is none."""


def heartbeat_mark(topic: str, feed: str) -> str:
    """Name the mark of a feed in a topic."""
    return f"{LAST_HEARTBEAT}|{topic}|{feed}"


def heartbeats_in(marks: Mapping[str, str]) -> dict[tuple[str, str], float]:
    """Give when each feed was last heard in each topic: Unix time by topic and feed."""
    found = {}
    for mark, moment in marks.items():
        if mark.startswith(LAST_HEARTBEAT + "|"):
            _, topic, feed = mark.split("|", 2)
            found[topic, feed] = float(moment)
    return found


def share_step(events: int, refused: int) -> tuple[float, float]:
    """Give what a share is multiplied by, and what is added to it, for some events of which some were refused."""
    kept = _KEPT**events
    return kept, (1 - kept) * refused / events


def note_refused(marks: dict[str, str], topic: str, events: int, refused: int) -> None:
    """Bring a topic's share of refused events up to date."""
    name, (kept, added) = f"{REFUSED_SHARE}|{topic}", share_step(events, refused)
    share = float(marks.get(name, "0")) * kept + added
    if share < _LEAST_SHARE:
        marks.pop(name, None)
    else:
        marks[name] = f"{share:.6f}"


def note_heartbeats(marks: dict[str, str], heartbeats: Sequence[tuple[str, str, str]]) -> list[str]:
    """Keep the newest heartbeat of every feed that there is room for.

    Args:
        marks: Changed.
        heartbeats: Topic, feed and Unix time of each.

    Returns:
        The topics of which a feed found no room.

    """
    without_room = []
    for topic, feed, moment in heartbeats:
        mark = heartbeat_mark(topic, feed)
        if mark not in marks and feed != WORKER and not _has_room(marks, topic, float(moment)):
            without_room.append(topic)
        elif float(marks.get(mark, "0")) < float(moment):
            marks[mark] = moment
    return without_room


def _has_room(marks: dict[str, str], topic: str, moment: float) -> bool:
    """Tell whether a topic may have another feed, and forget for it the one that was not heard for longest."""
    others = [(at, feed) for (its, feed), at in heartbeats_in(marks).items() if its == topic and feed != WORKER]
    if len(others) < MOST_FEEDS:
        return True
    at, feed = min(others)
    if at >= moment - FORGOTTEN_SECONDS:
        return False
    del marks[heartbeat_mark(topic, feed)]
    return True
