"""The production worker, put together as `streams.app` does, over a simulated Kafka and Redis."""

import asyncio
import random
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn
from unittest.mock import patch

from aiokafka.errors import KafkaError

from salesfx.events import TOPICS
from salesfx.rules import Rules
from salesfx.tables.store import Tables
from streams.agents import BatchHandler, _agent
from streams.arrivals import Arrivals
from streams.batch import Batch, Partition
from streams.dead_letters import DeadLetter
from streams.processor import Processor
from streams.steering import OffsetSteering
from streams.watch import LOOK_SECONDS, Watch
from tests.simulation.cluster import SimulatedConsumer, SimulatedLog, SimulatedThread
from tests.simulation.events import DEFINITIONS
from tests.simulation.loop import CLOCK

KAFKA_TOPICS = {f"x.{topic}": topic for topic in TOPICS}
"""Our names of the topics, by the names that they have in Kafka."""
WATCHDOG_SECONDS = 60.0
_RULES = Rules(DEFINITIONS)
_LETTER_SECONDS = 0.02


class ToldHandler(BatchHandler):
    """The production handler, whose healing does not go unseen."""

    def __init__(self, processor: Processor, steering: OffsetSteering, healed: Callable[[Exception], None]) -> None:
        super().__init__(processor, steering)
        self._healed = healed

    def _heal(self, batch: Batch, error: Exception) -> None:
        self._healed(error)
        super()._heal(batch, error)


class EndedError(BaseException):
    """In place of the end of the process."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


def _end(error: BaseException) -> NoReturn:
    raise EndedError(error)


@contextmanager
def simulated_surroundings() -> Iterator[None]:
    """Have production code read the simulated clock, and end a simulated worker where it would end the process."""
    with ExitStack() as stack:
        for module in ("agents", "steering", "transport"):
            stack.enter_context(patch(f"streams.{module}.end_process", _end))
        for module in ("watch", "processor"):
            stack.enter_context(patch(f"streams.{module}.time", CLOCK))
        yield


class LetterBox:
    """The dead-letter topic."""

    def __init__(self, chance: random.Random, fault: Callable[..., None]) -> None:
        self.letters: list[DeadLetter] = []
        self.trouble = 0.0
        """Share of the sends that fail half-way."""
        self._chance, self._fault = chance, fault

    async def send(self, letters: Collection[DeadLetter]) -> None:
        """Take letters; where it fails, some of them may be in."""
        await asyncio.sleep(self._chance.random() * _LETTER_SECONDS)
        if self.trouble and self._chance.random() < self.trouble:
            self._fault("kafka: dead letters half-written")
            self.letters += list(letters)[: int(self._chance.random() * (len(letters) + 1))]
            raise KafkaError("no acknowledgement")
        self.letters += letters


@dataclass
class Surroundings:
    """What every worker of a world has in common."""

    log: SimulatedLog
    letter_box: LetterBox
    chance: random.Random
    drops: Callable[[Batch], bool]
    ended: Callable[["SimulatedWorker", BaseException], None]
    failed: Callable[[str], None]
    healed: Callable[["SimulatedWorker", Exception], None]
    """Told of every exception that was taken for a defect."""
    note: Callable[..., None]


@dataclass(eq=False)
class SimulatedWorker:
    """One process: all that it does ends with `kill`, but not what it has sent."""

    name: str
    tables: Tables
    world: Surroundings
    lives: bool = True
    _generation: int = 0
    _tasks: dict["asyncio.Task[None]", None] = field(default_factory=dict)
    _beginning: "asyncio.Task[None] | None" = None

    def __post_init__(self) -> None:
        """Put it together and start it."""
        log: Any = self.world.log
        steering = OffsetSteering(self.tables, DEFINITIONS, log, KAFKA_TOPICS)
        processor = Processor(self.tables, _RULES, self.world.letter_box, KAFKA_TOPICS)
        handler = ToldHandler(processor, steering, partial(self.world.healed, self))
        self._watch = Watch(self.tables, steering, log, KAFKA_TOPICS, WATCHDOG_SECONDS, handler)
        self.consumer = SimulatedConsumer(
            SimulatedThread(log, self.world.chance), steering, KAFKA_TOPICS, self.world.drops
        )
        self._run(self.consumer.drain)
        self._run(self._look)
        for name in KAFKA_TOPICS:
            self._run(self._supervise, name, handler.arrivals)
        self._run(handler.process_arrivals)

    def kill(self) -> None:
        """End it between two of its steps."""
        self.lives = False
        for task in list(self._tasks):
            task.cancel()

    def reassign(self, generation: int, partitions: Collection[Partition]) -> None:
        """Take another share of the partitions; a seek that is under way for the last one ends."""
        if not self.lives or generation < self._generation:
            return
        self._generation = generation
        self.world.note(self.name, "assigned", [str(partition) for partition in partitions])
        self.consumer.revoked()
        if self._beginning is not None:
            self._beginning.cancel()
        self._beginning = self._run(self.consumer.assigned, partitions)

    def _run(self, work: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(self._until_the_end(work, *arguments))
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)
        return task

    async def _until_the_end(self, work: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
        try:
            await work(*arguments)
        except EndedError as ended:
            if self.lives:
                self.world.ended(self, ended.error)
        except Exception as error:  # noqa: BLE001 - of whatever kind: in production nobody would have seen it
            self.world.failed(f"{self.name} raised {type(error).__name__}: {error}")

    async def _supervise(self, topic: str, arrivals: Arrivals) -> None:
        """Run an agent; one that raises is started again, as Faust's supervisor does."""
        while True:
            try:
                await _agent(arrivals)(self.consumer.buffers[topic])
            except Exception as error:  # noqa: BLE001 - Faust logs it
                self.world.note(self.name, "agent raised", repr(error))

    async def _look(self) -> None:
        """Look every few seconds, as the task in `streams.app` does."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                if self.consumer.rebalancing:
                    self._watch.wait_for_rebalance()
                else:
                    await self._watch.look(self.consumer)
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                raise EndedError(error.error if isinstance(error, EndedError) else error) from error
