"""The settings that give the numbers their meaning, and their fingerprint.

Tables made under different definitions must never be mixed: an update adds `contributions(new) - contributions(old)`,
which is only right where `old` was added under the same rules.
"""

import hashlib
from bisect import bisect_left
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from salesfx.forgotten import Forgotten

_FIRST_MOMENT, _LAST_MOMENT = datetime(1999, 12, 30, tzinfo=UTC), datetime(2101, 1, 3, tzinfo=UTC)
_QUARTER_HOUR = timedelta(minutes=15)
_QUARTERS_OF_DAY = 96
RULES_VERSION = 1
"""Goes up with every change of the code that changes what a set of events adds up to, or the form of the records."""


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """What one euro is worth in a currency, from a local date on."""

    currency: str
    since: date
    per_euro: Decimal


class Definitions(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Everything beside the events that decides a number in the tables."""

    timezone: str = "Europe/Sofia"
    """Business time zone: decides the local date, and so the month, of every event."""
    currency: str = "EUR"
    """Reporting currency of every value in the tables."""
    rates: tuple[Rate, ...] = ()
    recipient_limit: int = 10
    """A quote to more recipients than this is a bulk mail and qualifies nobody."""
    coverage_days: int = 365
    """How long a deal without contract_ends_on keeps its account covered, after the day it closed."""
    sales_cycle_days: int = 30
    """When a quote without expected_close_on is expected to close, after the day it was sent."""
    source_aliases: dict[str, str] = {}
    forgotten: Forgotten = Forgotten()
    """Names and ids that are withdrawn, and what stands for them."""

    def canonical(self) -> bytes:
        """Give the JSON that is stored beside the tables and hashed into the fingerprint."""
        rates = sorted(self.rates, key=lambda rate: (rate.currency, rate.since))
        # Where nothing is withdrawn it is left out, so that the fingerprint is what it was before this could be.
        withdrawn = {"forgotten": self.forgotten.stored} if self.forgotten else {}
        return msgspec.json.encode(
            {
                "rules_version": RULES_VERSION,
                "timezone": self.timezone,
                "timezone_rules": zone_digest(self.timezone),
                "currency": self.currency,
                "rates": [
                    {"currency": r.currency, "since": r.since, "per_euro": format(r.per_euro.normalize(), "f")}
                    for r in rates
                ],
                "recipient_limit": self.recipient_limit,
                "coverage_days": self.coverage_days,
                "sales_cycle_days": self.sales_cycle_days,
                "source_aliases": self.source_aliases,
                **withdrawn,
            },
            order="sorted",
        )

    @cached_property
    def fingerprint(self) -> str:
        """Short hash of the definitions; equal fingerprints mean tables that may be added to."""
        return hashlib.sha256(self.canonical()).hexdigest()[:16]


@lru_cache(maxsize=8)
def zone_digest(timezone: str) -> str:
    """Hash what a time zone's clocks show over the years that events may speak of.

    The name is not enough: a new edition of the time zone database, or two machines with different ones, would move
    events to another date under the same name.
    """
    zone = ZoneInfo(timezone)

    def offset(quarter: int) -> float:
        return (_FIRST_MOMENT + quarter * _QUARTER_HOUR).astimezone(zone).utcoffset().total_seconds()  # type: ignore[union-attr]

    quarters = (_LAST_MOMENT - _FIRST_MOMENT) // _QUARTER_HOUR
    changes = [(0, offset(0))]
    for day in range(0, quarters, _QUARTERS_OF_DAY):
        if offset(day + _QUARTERS_OF_DAY) != changes[-1][1]:
            known = changes[-1][1]
            place = bisect_left(range(day, day + _QUARTERS_OF_DAY), True, key=lambda quarter: offset(quarter) != known)
            changes.append((day + place, offset(day + _QUARTERS_OF_DAY)))
    return hashlib.sha256(repr(changes).encode()).hexdigest()[:16]


def made_under(canonical: bytes, ours: Definitions) -> Definitions:
    """Read definitions back as they are stored with tables.

    Args:
        canonical: The JSON.
        ours: Those in force: the list of what is withdrawn is not stored with the tables, and is taken from there.

    """
    theirs = msgspec.json.decode(canonical, type=Definitions)
    return msgspec.structs.replace(theirs, forgotten=theirs.forgotten.opened(ours.forgotten))


def differences(stored: bytes, ours: bytes) -> list[str]:
    """Name, in words, what differs between two canonical definitions.

    Args:
        stored: What the tables were made under.
        ours: What this process was started with.

    """
    old, new = msgspec.json.decode(stored), msgspec.json.decode(ours)
    zone = new["timezone"]
    if old.pop("timezone_rules", None) != new.pop("timezone_rules", None) and old["timezone"] == zone:
        return [f"the time zone database: on this machine {zone} has other rules than when the tables were made"]
    withdrawn = _withdrawn(old.pop("forgotten", None), new.pop("forgotten", None))
    return withdrawn + [
        f"{name}: the tables were made with {_shown(old.get(name))}, now it is {_shown(new.get(name))}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _withdrawn(old: Any, new: Any) -> list[str]:
    """Tell how lists of what is withdrawn differ."""
    if old == new:
        return []
    theirs, ours = (each["count"] if each else 0 for each in (old, new))
    another = ", and the two are not of one list" if theirs == ours else ""
    return [f"forgotten: {theirs} names and ids were withdrawn from the tables; by the list here it is {ours}{another}"]


def brings_back(stored: bytes, ours: Definitions) -> bool:
    """Tell whether something is withdrawn from tables that is not by our list: made anew with it they would name it again."""
    return not ours.forgotten.goes_on_from(msgspec.json.decode(stored, type=Definitions).forgotten)


def only_withdraws(stored: bytes, ours: Definitions) -> bool:
    """Tell whether ours differ from stored ones by further names and ids that are withdrawn, and by nothing else."""
    return withdraws_more(stored, ours) and same_but_for_the_list(stored, ours)


def withdraws_more(stored: bytes, ours: Definitions) -> bool:
    """Tell whether something is withdrawn by our list that tables name: they were made, or put back, before it was."""
    theirs = msgspec.json.decode(stored, type=Definitions).forgotten
    return ours.forgotten.goes_on_from(theirs) and ours.forgotten.stored != theirs.stored


def brings_names_back(next_shown: bytes, now: bytes) -> bool:
    """Tell whether tables of stored definitions name something that is withdrawn by others, stored too or in force."""
    theirs, others = (msgspec.json.decode(each, type=Definitions).forgotten.stored for each in (next_shown, now))
    return theirs != others and theirs.count <= others.count


def same_but_for_the_list(stored: bytes, ours: Definitions) -> bool:
    """Tell whether stored definitions are ours, whatever is withdrawn by the one and by the other."""
    return _without_list(stored) == _without_list(ours.canonical())


def _without_list(canonical: bytes) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.json.decode(canonical)
    return {name: value for name, value in told.items() if name != "forgotten"}


def only_adds_rates(stored: bytes, ours: bytes) -> bool:
    """Tell whether `ours` differs from `stored` by rates for currencies that had none, and by nothing else.

    Events in such a currency were all refused, so nothing in the tables depends on it: the one change of definitions
    that needs no rebuild.
    """
    old, new = msgspec.json.decode(stored), msgspec.json.decode(ours)
    had = {rate["currency"] for rate in old["rates"]}
    kept = [rate for rate in new["rates"] if rate["currency"] in had]
    return bool({**new, "rates": kept} == old)


def _shown(value: object) -> str:
    return msgspec.json.encode(value).decode()
