"""What the way of an event costs in work, counted and not timed: a change of shape shows on every machine alike."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import redis

from salesfx.local import LocalServers
from tests.worker_process import Site, expected, simulated

EVENTS = 20_000
COUNTS_DECODING = """
import streams.processor as processor
decode, decoded = processor.decode, 0
def counting(*arguments):
    global decoded
    decoded += 1
    return decode(*arguments)
processor.decode = counting
import signal
signal.signal(signal.SIGUSR1, lambda *_: print("decoded", decoded, flush=True))
"""


@pytest.fixture
def own_site(servers: LocalServers, own_redis_url: str, namespace: str) -> Iterator[Site]:
    """A site with a Redis that counts for nobody else."""
    yield Site(servers.kafka, own_redis_url, namespace)


class Costs:
    """What a Redis has been asked since this was made."""

    def __init__(self, client: Any) -> None:
        self._redis = client
        client.config_resetstat()

    def commands(self) -> dict[str, int]:
        """Count the commands by name; those of the script are among them."""
        stats: Mapping[str, Any] = self._redis.info("commandstats")
        return {name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()}

    def bytes_in(self) -> int:
        """Count the bytes that it was sent."""
        return int(self._redis.info("stats")["total_net_input_bytes"])


async def test_an_event_costs_what_it_did(own_site: Site) -> None:
    """A batch is read by at most three commands and written by one script; each record is decoded once; little is sent."""
    events = simulated(17, EVENTS)
    await own_site.make_topics()
    await own_site.publish(events)
    client = redis.Redis.from_url(own_site.settings.redis)
    costs = Costs(client)
    import signal

    with own_site.worker(patch=COUNTS_DECODING) as worker:
        await own_site.caught_up(worker)
        commands, bytes_in = costs.commands(), costs.bytes_in()
        worker.signal(signal.SIGUSR1)
        await worker.says(f"decoded {EVENTS}\n")
    counters = await own_site.counters()
    batches = sum(number for name, number in counters.items() if name.startswith("batches|"))
    assert sum(number for name, number in counters.items() if name.startswith("processed|")) == EVENTS
    print(batches, bytes_in / EVENTS, {k: v for k, v in sorted(commands.items()) if v > 3})
    assert await own_site.cells() == expected(events)
    client.close()
