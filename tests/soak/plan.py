"""Which faults happen when: a pure function of the seed and the length of the run."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What can go wrong."""

    WORKER_KILLED = "worker killed (kill -9)"
    WORKER_PAUSED = "worker stopped within its session's timeout"
    WORKER_ZOMBIE = "worker stopped beyond its session's timeout"
    WORKER_ADDED = "worker added for a while"
    WORKER_REMOVED = "worker removed for a while (SIGTERM)"
    REDIS_POWER_CUT = "Redis killed, everysec, the end of its file lost"
    REDIS_KILLED_ALWAYS = "Redis killed (kill -9), always"
    REDIS_FLUSHED = "Redis flushed"
    REDIS_OLDER_COPY = "Redis replaced by an older copy of its data"
    REDIS_FAILOVER = "replica promoted with writes missing"
    REDIS_CUT = "connections between workers and Redis cut"
    REDIS_SLOWED = "connections between workers and Redis slowed"
    REDIS_STALLED = "connections between workers and Redis stalled"
    KAFKA_KILLED = "Kafka killed (kill -9)"
    KAFKA_CUT = "connections between workers and Kafka cut"
    KAFKA_SLOWED = "connections between workers and Kafka slowed"
    KAFKA_STALLED = "connections between workers and Kafka stalled"


@dataclass(frozen=True)
class Fault:
    """One fault of the plan."""

    at: float
    """Seconds after the start."""
    kind: Kind
    seconds: float
    """How long it lasts, beside what it takes to start a server again."""
    amount: float
    """From 0 to below 1: which worker, how much of the file, how old a copy, how slow."""


SECONDS: dict[Kind, tuple[float, float]] = {
    Kind.WORKER_KILLED: (0, 0),
    Kind.WORKER_PAUSED: (1, 6),
    Kind.WORKER_ZOMBIE: (12, 20),
    Kind.WORKER_ADDED: (10, 40),
    Kind.WORKER_REMOVED: (3, 15),
    Kind.REDIS_POWER_CUT: (0, 3),
    Kind.REDIS_KILLED_ALWAYS: (0, 3),
    Kind.REDIS_FLUSHED: (0, 0),
    Kind.REDIS_OLDER_COPY: (0, 2),
    Kind.REDIS_FAILOVER: (1, 6),
    Kind.REDIS_CUT: (0, 4),
    Kind.REDIS_SLOWED: (4, 12),
    Kind.REDIS_STALLED: (2, 12),
    Kind.KAFKA_KILLED: (0, 5),
    Kind.KAFKA_CUT: (0, 4),
    Kind.KAFKA_SLOWED: (4, 12),
    Kind.KAFKA_STALLED: (2, 14),
}
"""How long each kind lasts, from and to."""
_OFTEN = (Kind.WORKER_KILLED, Kind.WORKER_ZOMBIE, Kind.REDIS_POWER_CUT, Kind.REDIS_CUT, Kind.KAFKA_CUT)
"""Dealt twice a round; each other kind once."""
_COSTLY = Kind.REDIS_FLUSHED
"""Everything is read again from the beginning of the log: dealt in every second round only."""
_GAPS = ((0.3, 0.2, 3.0), (0.55, 6.0, 12.0), (0.15, 16.0, 24.0))
"""Share of the gaps between faults, and their seconds: some overlap, some have time to heal."""
FIRST_AT, QUIET_END = 12.0, 10.0
"""Seconds before the first fault and after the last."""


def plan(seed: int, minutes: float) -> list[Fault]:
    """Give the faults of a run, in the order of their times.

    Args:
        seed: Any integer; the same one gives the same plan.
        minutes: Length of the run. A longer run's plan begins with that of a shorter one.

    """
    chance = random.Random(f"plan {seed}")
    faults: list[Fault] = []
    at = FIRST_AT
    for kind in _kinds(chance):
        if at > minutes * 60 - QUIET_END:
            return faults
        low, high = SECONDS[kind]
        faults.append(Fault(round(at, 2), kind, round(low + (high - low) * chance.random(), 2), chance.random()))
        at += _gap(chance)
    raise AssertionError("the kinds never end")


def _kinds(chance: random.Random) -> Iterator[Kind]:
    """Deal kinds for ever: each once before any comes again, then in rounds."""
    number = 0
    while True:
        deck = [kind for kind in Kind if number % 2 == 0 or kind is not _COSTLY]
        if number:
            deck += _OFTEN
        chance.shuffle(deck)
        yield from deck
        number += 1


def _gap(chance: random.Random) -> float:
    luck = chance.random()
    for share, low, high in _GAPS:
        if luck < share:
            return low + (high - low) * chance.random()
        luck -= share
    return _GAPS[-1][2]
