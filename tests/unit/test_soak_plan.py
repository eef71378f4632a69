"""The plan of the nemesis: repeatable, dense, and of every kind."""

import json
from collections import Counter
from itertools import islice

import pytest

from salesfx.decoder import decode
from salesfx.refusal import Reason, Refused
from tests.soak.plan import SECONDS, Kind, plan
from tests.soak.publishing import Planned, events
from tests.soak.watching import Sample, inconsistencies

SEEDS = range(40)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_plan_is_a_function_of_seed_and_length(seed: int) -> None:
    """The same seed gives the same faults; a longer run begins with the faults of a shorter one."""
    short = plan(seed, 5)
    assert short == plan(seed, 5)
    assert plan(seed, 60)[: len(short)] == short
    assert plan(seed + 1, 5) != short


@pytest.mark.parametrize("seed", SEEDS)
def test_a_plan_has_enough_of_every_kind(seed: int) -> None:
    """Five minutes have 20 faults and every kind; an hour has 300, and every kind several times."""
    short, long = plan(seed, 5), plan(seed, 60)
    assert len(short) >= 20
    assert {fault.kind for fault in short} == set(Kind)
    assert len(long) >= 300
    assert min(Counter(fault.kind for fault in long).values()) >= 5
    for fault in long:
        low, high = SECONDS[fault.kind]
        assert low <= fault.seconds <= high
        assert 0 <= fault.amount < 1
        assert 0 < fault.at < 3600


def test_the_events_are_repeatable_and_as_bad_as_they_should_be() -> None:
    """A tenth are duplicates, some are corrections or of a few hot entities, and each unusable one is refused as planned."""
    some = list(islice(events(7), 20_000))
    assert some == list(islice(events(7), 20_000))
    shares = {what: number / len(some) for what, number in Counter(event.what for event in some).items()}
    assert 0.06 < shares["duplicate"] < 0.12
    assert 0.003 < shares["unusable"] < 0.007
    assert shares["correction"] > 0.03
    assert shares["hot"] > 0.02
    for event in some:
        assert refusal(event) == event.reason


def refusal(event: Planned) -> str:
    """Tell the reason for which the decoder refuses an event; blank where it takes it, and where only a rate is missing."""
    try:
        decode(event.topic, event.value)
    except Refused as refused:
        return str(refused.reason)
    return event.reason if event.reason == Reason.NO_RATE else ""


def test_a_snapshot_that_contradicts_itself_is_found() -> None:
    """Whatever number of a consistent snapshot is changed, it shows."""
    sample = Sample(0.0, dict(OFFSETS), dict(COUNTERS), {name: dict(table) for name, table in TABLES.items()})
    assert inconsistencies(sample) == []
    for name, table in TABLES.items():
        for field in table:
            wrong = json.loads(json.dumps(TABLES))
            wrong[name][field] += 1
            assert inconsistencies(Sample(0.0, OFFSETS, COUNTERS, wrong)), (name, field)
    assert inconsistencies(Sample(0.0, OFFSETS | {"lead_created:0": 3}, COUNTERS, TABLES))
    assert inconsistencies(Sample(0.0, OFFSETS, COUNTERS | {"rejected|lead_created|not_json": 2}, TABLES))


OFFSETS = {"lead_created:0": 2, "lead_created:1": 1, "deal_closed:0": 1}
COUNTERS = {"processed|lead_created": 2, "rejected|lead_created|not_json": 1, "processed|deal_closed": 1}
LEADS = {"leads|source=web": 1, "leads|source=fair": 1, "leads|salesperson=Ana": 2}
SALES = {
    "booked_sales|category=expansion": 1,
    "booked_sales|category=expansion,salesperson=Ana": 1,
    "booked_sales_value|category=expansion": 100,
    "booked_sales_value|category=expansion,salesperson=Ana": 100,
}
TABLES = {
    "month:2026-10": LEADS | SALES,
    "days:2026-10": {f"05|{field}": number for field, number in (LEADS | SALES).items()},
    "hours:2026-10": {"05T09|leads|source=web": 1, "05T23|leads|source=fair": 1},
}
