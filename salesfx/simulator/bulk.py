"""The simulated CRM's events in any number, faster than they could be simulated: a load for tests and benchmarks."""

from collections.abc import Iterator
from datetime import date
from itertools import count as count_from
from itertools import islice

import msgspec

from .crm import ENTITY_ID
from .process import published_by
from .stories import Stories

_Pieces = list[bytes]

# Stands in every id of the events that are simulated; the number of the round takes its place. Nothing else contains it.
_TAG = "~~"
_TAG_BYTES = _TAG.encode()
_ORIGIN = date(2022, 9, 1).toordinal()
_LEADS_PER_MONTH = 600
# By then (in events, about four months) quotes and deals have reached their level.
_SETTLED_AFTER = 3_000
_ROUND = 20_000
"""How many events are simulated, about two years' worth; further ones are these with other ids."""


def load(seed: int, count: int) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield exactly `count` events as (topic, key, JSON in UTF-8), in the order and disorder of publishing.

    The key is the entity's id. The mix is that of `simulate` from the first event on, which means that some of the first
    quotes and deals belong to leads that are older than the load. The dates are those of 2023 and 2024, roughly; after
    every 20,000 events they begin again, with ids of their own: entities of different rounds have nothing to do with each
    other. The load of a smaller `count` is the beginning of that of a larger one.
    """
    return islice(_rounds(seed), max(count, 0))


def _rounds(seed: int) -> Iterator[tuple[str, bytes, bytes]]:
    template = []
    first = b"0-"
    for topic, key, body in _simulated(seed):
        # The first round is simulated while it is used: a small load does not wait for a large one's template.
        template.append((topic, key, body))
        yield topic, first.join(key), first.join(body)
    for number in count_from(1):
        tag = b"%d-" % number
        for topic, key, body in template:
            yield topic, tag.join(key), tag.join(body)


def _simulated(seed: int) -> Iterator[tuple[str, _Pieces, _Pieces]]:
    encode = msgspec.json.Encoder().encode
    published = published_by(Stories(seed, _ORIGIN, _LEADS_PER_MONTH, _TAG), _ORIGIN)
    for _, topic, event in islice(published, _SETTLED_AFTER, _SETTLED_AFTER + _ROUND):
        key = str(event[ENTITY_ID[topic]]).encode()
        yield topic, key.split(_TAG_BYTES), encode(event).split(_TAG_BYTES)
