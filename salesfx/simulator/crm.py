"""The CRM as a publisher: it gives out ids, writes versions down, and publishes them more or less in order.

Moments are whole milliseconds since 1970 in UTC.
"""

from collections import defaultdict
from datetime import date
from operator import itemgetter
from typing import cast

from .chance import Dice
from .rhythm import DAY, EPOCH_DAY, HOUR, MINUTE, SECOND, local_day, local_stamp, utc_stamp

LEAD, QUOTE, DEAL = "lead_created", "quote_sent", "deal_closed"
ENTITY_ID = {LEAD: "lead_id", QUOTE: "quote_id", DEAL: "deal_id"}
"""By topic, the field that names the entity."""

Event = dict[str, object]
Published = tuple[int, str, Event]
"""The moment of publishing, the topic, the event."""

_by_moment = itemgetter(0)
_COMPANIES = ("rila", "pirin", "vitosha", "balkan", "danube", "maritsa", "iskar", "sredets", "trakia", "arda")
_TRADES = ("logistics", "foods", "textiles", "energy", "pharma", "steel", "media", "clinic", "hotels", "software")
# Of a hundred messages: those that wait minutes or hours for the outbox, and those it finds again after a day or two.
_DELAYED, _STALLED = 0.035, 0.008
_REDELIVERED = 0.012
# Of the later versions: those that count the revision, and those that say when they were written down; all do one of them.
_COUNTED, _UNDATED = 0.7, 0.3


def message_key(topic: str, event: Event) -> str:
    """Name the lead or stand-in that an event is about, of a retraction the entity itself: the key of its message."""
    names = (ENTITY_ID[topic],) if event.get("retracted") else ENTITY_ID.values()
    return next(str(event[name]) for name in names if event.get(name))


class Crm:
    """Ids, versions, and the outbox with what is not published yet.

    `tag` stands in every id that is given out, so that a text with it can be renamed as a whole.
    """

    def __init__(self, dice: Dice, tag: str = "") -> None:
        self._dice = dice
        self._tag = tag
        self._events = 0
        self._accounts = 0
        self._numbers: defaultdict[tuple[str, int], int] = defaultdict(int)
        self._outbox: defaultdict[int, list[Published]] = defaultdict(list)

    def new_event_id(self) -> str:
        """Give out an id that no other event has."""
        self._events += 1
        return f"evt-{self._tag}{self._events:08d}"

    def new_account(self) -> str:
        """Give out an account id that no other account has."""
        self._accounts += 1
        return f"{self._dice.pick(_COMPANIES)}-{self._dice.pick(_TRADES)}-{self._tag}{self._accounts}"

    def new_id(self, letter: str, moment: int) -> str:
        """Give out an id such as L-2026-000123, numbered within the year of the moment."""
        year = date.fromordinal(local_day(moment)).year
        self._numbers[letter, year] += 1
        return f"{letter}-{year}-{self._tag}{self._numbers[letter, year]:06d}"

    def write(self, topic: str, event: Event, recorded: int) -> None:
        """Publish an event that was recorded at that moment: mostly seconds later, some hours or days later, some twice."""
        random = self._dice.random
        published = recorded + 200 + int(random() * 3 * SECOND)
        luck = random()
        if luck < _DELAYED:
            published += int(random() * (3 * HOUR if luck > _STALLED else 50 * HOUR))
        self._outbox[published // DAY].append((published, topic, event))
        if random() < _REDELIVERED:
            published += int(self._dice.skewed(10 * MINUTE))
            # A copy: whoever gets the first must not find the second one changed with it.
            self._outbox[published // DAY].append((published, topic, dict(event)))

    def correct(self, topic: str, event: Event, recorded: int, changes: Event) -> Event:
        """Publish a later version of `event`, recorded at that moment, and return it: the same with `changes`."""
        version = {**event, **changes, "event_id": self.new_event_id()}
        self._mark_as_later(topic, event, version, recorded)
        self.write(topic, version, recorded)
        return version

    def retract(self, topic: str, event: Event, recorded: int) -> Event:
        """Publish the withdrawal of `event` and return it; half of the time it has no more than the ids."""
        whole = self._dice.chance(0.5)
        kept = tuple(event) if whole else ("event_id", "occurred_at", ENTITY_ID[topic])
        version: Event = {name: event[name] for name in kept}
        version["event_id"] = self.new_event_id()
        version["retracted"] = True
        self._mark_as_later(topic, event, version, recorded)
        self.write(topic, version, recorded)
        return version

    def take(self, day: int) -> list[Published]:
        """Empty the outbox of what is published on the UTC day (ordinal), and return that in order."""
        messages = self._outbox.pop(day - EPOCH_DAY, [])
        messages.sort(key=_by_moment)
        return messages

    def _mark_as_later(self, topic: str, event: Event, version: Event, recorded: int) -> None:
        # Some CRMs count revisions, others only say when they wrote the version down.
        luck = self._dice.random()
        version.pop("recorded_at", None)
        revision = cast(int, event.get("revision", 0))
        if luck < _COUNTED:
            version["revision"] = revision + 1
        elif revision:
            version["revision"] = revision
        if luck > _UNDATED:
            version["recorded_at"] = utc_stamp(recorded) if topic == LEAD else local_stamp(recorded)
