"""How long it takes until a fault is healed."""

import time
from dataclasses import dataclass

import redis

from tests.soak.publishing import Publisher
from tests.soak.servers import Servers

_OFFSETS = "{{{}}}:1:offsets"


@dataclass
class _Wound:
    kind: str
    ended: float
    goal: dict[str, int]
    alone: bool


class Healing:
    """Looks at the stored offsets, and notes when they have passed what was in the log at the end of each fault."""

    def __init__(self, servers: Servers, namespace: str, publisher: Publisher) -> None:
        self._servers = servers
        self._key = _OFFSETS.format(namespace)
        self._publisher = publisher
        self._wounds: list[_Wound] = []
        self._under_way = 0
        self.offsets: dict[str, int] = {}
        """As they were at the last look."""
        self.longest: dict[str, float] = {}
        self.longest_alone: dict[str, float] = {}

    @property
    def lag(self) -> int:
        """Events in the log that are not in the tables."""
        return sum(max(0, end - self.offsets.get(name, 0)) for name, end in self._publisher.ends.items())

    @property
    def open(self) -> int:
        """Faults that are not healed yet."""
        return len(self._wounds)

    def begins(self) -> bool:
        """Note that a fault begins; tell whether it is the only one, and nothing is to be healed."""
        for wound in self._wounds:
            wound.alone = False
        self._under_way += 1
        return self._under_way == 1 and not self._wounds

    def ends(self, kind: str, *, alone: bool) -> None:
        """Note that a fault has ended."""
        self._under_way -= 1
        alone = alone and self._under_way == 0
        self._wounds.append(_Wound(kind, time.monotonic(), dict(self._publisher.ends), alone))

    async def look(self) -> None:
        """Look once."""
        try:
            stored = await self._servers.ask("HGETALL", self._key)
        except (redis.RedisError, OSError):
            return
        self.offsets = {name.decode(): int(offset) for name, offset in stored.items()}
        now = time.monotonic()
        for wound in list(self._wounds):
            if all(self.offsets.get(name, 0) >= end for name, end in wound.goal.items()):
                self._wounds.remove(wound)
                _note(self.longest, wound.kind, now - wound.ended)
                if wound.alone:
                    _note(self.longest_alone, wound.kind, now - wound.ended)


def _note(longest: dict[str, float], kind: str, seconds: float) -> None:
    longest[kind] = max(longest.get(kind, 0.0), round(seconds, 1))
