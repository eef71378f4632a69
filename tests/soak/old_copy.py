"""A Redis that is some thousand events behind, put under a running worker: how long until the tables are right again."""

import asyncio
import time
from dataclasses import dataclass

from tests.soak.checking import differences, read_log
from tests.soak.stage import Stage

_BEFORE = 20_000
"""Events in the copy."""
_PATIENCE = 300.0


@dataclass
class OldCopy:
    """What was measured."""

    events: int
    """In the log."""
    behind: int
    """Events that were missing when Redis answered again."""
    seconds: float
    """From then until all was in the tables again."""
    worker_ends: dict[str, int]
    """By exit status."""
    differences: list[str]
    """Of all tables, from those that follow from the log."""

    @property
    def passed(self) -> bool:
        """Whether the tables are right, and the worker went on by itself."""
        return not self.differences and not self.worker_ends


async def measure_old_copy(stage: Stage, behind: int) -> OldCopy:
    """Put an older copy of Redis's data folder in place of the newer one, under a running worker.

    Args:
        stage: On which nothing has begun.
        behind: Events that are published, and taken to the tables, after the copy was made.

    """
    try:
        await stage.start(workers=1)
        await stage.publisher.publish(_BEFORE)
        await stage.drained(_PATIENCE)
        await stage.servers.take_copy()
        await stage.publisher.publish(behind)
        _, ends = await stage.drained(_PATIENCE)
        stage.say(f"{behind:,} events behind: Redis is replaced by an older copy of its data")
        await stage.servers.put_copy_back(0.0)
        answered = time.monotonic()
        lost = sum(ends.values()) - sum((await stage.site.offsets()).values())
        stored, _ = await stage.drained(_PATIENCE)
        seconds = time.monotonic() - answered
        ended = dict(stage.workers.ends.by_status)
        log = await read_log(stage.site, stage.say)
        wrong = await asyncio.to_thread(differences, await stage.tables(), log)
    finally:
        await stage.stop()
    if stored != ends:
        wrong.append(f"the stored offsets are {stored}, should be {ends}")
    return OldCopy(sum(ends.values()), lost, round(seconds, 2), ended, wrong[:20] + log.defects[:20])
