"""An event loop whose time costs nothing and whose order is decided by a seed."""

import asyncio
import heapq
import random
from types import SimpleNamespace
from typing import Any

_EPOCH = 1_000.0
"""What the clock shows at the beginning: not 0, which code might take for "never"."""
_THREAD_SECONDS = 0.02
"""What is handed to a thread takes up to so long."""
_MOST_STEPS = 200_000
"""More callbacks than any world needs."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs what is ready in seeded order, and where nothing is, moves its clock to the next timer."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance.random
        self._now = _EPOCH
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        """A heap of its own: the base class's compares handles in Python."""
        self._timers_made = 0
        self.steps = 0
        """Callbacks run."""

    def time(self) -> float:
        """Tell the simulated time, in seconds."""
        return self._now

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """Call it at that time."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._timers_made += 1
        heapq.heappush(self._timers, (when, self._timers_made, timer))
        return timer

    def _run_once(self) -> None:
        ready: Any = self._ready  # type: ignore[attr-defined]
        timers = self._timers
        while timers and (not ready or timers[0][0] <= self._now):
            when, _, timer = heapq.heappop(timers)
            if not timer.cancelled():
                self._now = max(self._now, when)
                ready.append(timer)
        if not ready:
            raise RuntimeError("everything waits, and nothing will ever come")
        if len(ready) > 1:
            ready.rotate(-int(self._chance() * len(ready)))
        handle = ready.popleft()
        if not handle._cancelled:
            self.steps += 1
            if self.steps > _MOST_STEPS:
                self.steps = 0
                raise RuntimeError(f"no rest after {_MOST_STEPS} steps")
            handle._run()

    def _write_to_self(self) -> None:
        """Wake nobody: there are no threads."""

    def _process_events(self, _events: Any) -> None:
        """Expect none: there are no sockets."""

    def run_in_executor(self, _executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """Run it a little later, in this thread."""
        future = self.create_future()

        def run() -> None:
            if future.done():
                return
            try:
                future.set_result(func(*args))
            except Exception as error:  # noqa: BLE001 - a thread would hand over whatever it is
                future.set_exception(error)

        self.call_later(self._chance() * _THREAD_SECONDS, run)
        return future


def _now() -> float:
    return asyncio.get_running_loop().time()


CLOCK = SimpleNamespace(monotonic=_now, perf_counter=_now, time=_now)
"""In place of the module `time`, for code that is simulated."""
