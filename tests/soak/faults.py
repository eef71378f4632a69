"""How each kind of fault is carried out."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable

from tests.soak.plan import Fault, Kind
from tests.soak.proxy import Proxy
from tests.soak.servers import Servers
from tests.soak.workers import Workers

_CUT_EVERY = 1.5
"""Seconds between cuts, where connections are cut for a while."""
_SLOWEST = 0.25
"""Most seconds by which everything through a slowed connection is late."""
_ALWAYS_SECONDS = 1.5
"""How long Redis writes every commit to the disk before it is killed."""


class Faults:
    """Carries out faults, several at once; what they do to one server waits for its turn."""

    def __init__(self, servers: Servers, workers: Workers) -> None:
        self._servers = servers
        self._workers = workers
        self._ways: dict[Kind, Callable[[Fault], Awaitable[str]]] = {
            Kind.WORKER_KILLED: self._kill_worker,
            Kind.WORKER_PAUSED: self._pause_worker,
            Kind.WORKER_ZOMBIE: self._pause_worker,
            Kind.WORKER_ADDED: self._add_worker,
            Kind.WORKER_REMOVED: self._remove_worker,
            Kind.REDIS_POWER_CUT: self._power_cut,
            Kind.REDIS_KILLED_ALWAYS: self._kill_always,
            Kind.REDIS_FLUSHED: self._flush,
            Kind.REDIS_OLDER_COPY: self._older_copy,
            Kind.REDIS_FAILOVER: self._failover,
            Kind.REDIS_CUT: lambda fault: self._cut(self._servers.to_redis, fault),
            Kind.REDIS_SLOWED: lambda fault: self._slow(self._servers.to_redis, fault),
            Kind.REDIS_STALLED: lambda fault: self._stall(self._servers.to_redis, fault),
            Kind.KAFKA_KILLED: self._kill_kafka,
            Kind.KAFKA_CUT: lambda fault: self._cut(self._servers.to_kafka, fault),
            Kind.KAFKA_SLOWED: lambda fault: self._slow(self._servers.to_kafka, fault),
            Kind.KAFKA_STALLED: lambda fault: self._stall(self._servers.to_kafka, fault),
        }

    async def carry_out(self, fault: Fault) -> str:
        """Do it, return when it is over, and say what was done."""
        return await self._ways[fault.kind](fault)

    async def _kill_worker(self, fault: Fault) -> str:
        worker = self._workers.pick(fault.amount)
        if worker is None:
            return "none runs"
        worker.signal(signal.SIGKILL)
        return f"worker {worker.number}"

    async def _pause_worker(self, fault: Fault) -> str:
        worker = self._workers.pick(fault.amount)
        if worker is None or worker.child is None:
            return "none runs"
        child = worker.child
        child.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            child.signal(signal.SIGCONT)
        return f"worker {worker.number}"

    async def _add_worker(self, fault: Fault) -> str:
        worker = self._workers.add()
        await asyncio.sleep(fault.seconds)
        await self._workers.remove(worker)
        return f"worker {worker.number}"

    async def _remove_worker(self, fault: Fault) -> str:
        worker = self._workers.pick(fault.amount)
        if worker is None:
            return "none runs"
        await self._workers.remove(worker)
        await asyncio.sleep(fault.seconds)
        return f"worker {worker.number}, in its place worker {self._workers.add().number}"

    async def _power_cut(self, fault: Fault) -> str:
        async with self._servers.redis_lock:
            await asyncio.to_thread(self._servers.primary.kill)
            lost = self._servers.lose_the_latest(fault.amount)
            await asyncio.sleep(fault.seconds)
            await asyncio.to_thread(self._servers.primary.start)
        return lost

    async def _kill_always(self, fault: Fault) -> str:
        async with self._servers.redis_lock:
            await self._servers.ask("CONFIG", "SET", "appendfsync", "always")
            await asyncio.sleep(_ALWAYS_SECONDS)
            await asyncio.to_thread(self._servers.primary.kill)
            await asyncio.sleep(fault.seconds)
            await asyncio.to_thread(self._servers.primary.start)
        return ""

    async def _flush(self, _fault: Fault) -> str:
        async with self._servers.redis_lock:
            await self._servers.ask("FLUSHALL")
        return ""

    async def _older_copy(self, fault: Fault) -> str:
        async with self._servers.redis_lock:
            return await self._servers.put_copy_back(fault.amount, fault.seconds)

    async def _failover(self, fault: Fault) -> str:
        async with self._servers.redis_lock:
            await self._servers.attach_replica()
            self._servers.link.stall()
            await asyncio.sleep(fault.seconds)
            await self._servers.promote()
        return f"{fault.seconds:.1f} s of writes missing"

    async def _cut(self, proxy: Proxy, fault: Fault) -> str:
        until = time.monotonic() + fault.seconds
        cuts = 0
        while True:
            proxy.cut()
            cuts += 1
            if time.monotonic() + _CUT_EVERY > until:
                return f"{cuts} times"
            await asyncio.sleep(_CUT_EVERY)

    async def _slow(self, proxy: Proxy, fault: Fault) -> str:
        latency = 0.02 + (_SLOWEST - 0.02) * fault.amount
        proxy.latency = latency
        await asyncio.sleep(fault.seconds)
        proxy.latency = 0.0
        return f"{latency * 1000:.0f} ms each way"

    async def _stall(self, proxy: Proxy, fault: Fault) -> str:
        proxy.stall()
        await asyncio.sleep(fault.seconds)
        proxy.heal()
        return ""

    async def _kill_kafka(self, fault: Fault) -> str:
        async with self._servers.kafka_lock:
            await asyncio.to_thread(self._servers.kafka.kill)
            await asyncio.sleep(fault.seconds)
            await asyncio.to_thread(self._servers.kafka.start)
        return ""
