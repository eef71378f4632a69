"""The simulated CRM's events in any number: a load for tests and benchmarks."""

from collections.abc import Iterator
from datetime import date
from itertools import count as count_from
from itertools import islice

import msgspec

from .crm import message_key
from .process import published_by
from .stories import Stories

SMALL_COMPANY = 600
"""Leads a month of which two years make about 20,000 events."""
_ORIGIN = date(2022, 9, 1).toordinal()
# By then (in events a lead of a month, about four months) quotes and deals have reached their level.
_SETTLED_AFTER = 5
_ROUND = 100 / 3
"""How many events are simulated for each lead of a month, about two years' worth; further ones are these with other ids."""


def load(seed: int, count: int, leads_per_month: int = SMALL_COMPANY) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield exactly `count` events as (topic, key, JSON in UTF-8), in the order and disorder of publishing.

    The mix is that of `simulate` from the first event on, which means that some of the first
    quotes and deals belong to leads that are older than the load. The dates are those of 2023 and 2024, roughly; after
    that they begin again, with ids of their own: entities of different rounds have nothing to do with each other. The load
    of a smaller `count` is the beginning of that of a larger one.
    """
    return islice(_rounds(seed, leads_per_month), max(count, 0))


def _rounds(seed: int, leads_per_month: int) -> Iterator[tuple[str, bytes, bytes]]:
    encode = msgspec.json.Encoder().encode
    begin, events = _SETTLED_AFTER * leads_per_month, round(_ROUND * leads_per_month)
    for number in count_from():
        published = published_by(Stories(seed, _ORIGIN, leads_per_month, f"{number}-"), _ORIGIN)
        for _, topic, event in islice(published, begin, begin + events):
            yield topic, message_key(topic, event).encode(), encode(event)
