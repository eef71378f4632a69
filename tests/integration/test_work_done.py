"""What the way of an event costs in work, counted and not timed: a change of shape shows on every machine alike."""

from typing import Any

import pytest
import redis

from salesfx.local import LocalServers
from tests.worker_process import Site, expected, simulated

EVENTS = 20_000
MOST_READS = 3
"""Commands by which a batch reads its records: its entities and leads, leads that they leave, accounts."""
SPARE = 3
"""Commits that may be tried in vain: the first, before Redis has the script, and where small batches meet at the end."""
MOST_BYTES = 450
"""That Redis is sent for an event of this load, of which about 390 are needed."""
COUNTS_DECODING = f"""
import streams.processor as processor
decode, decoded = processor.decode, 0
def counting(*arguments):
    global decoded
    decoded += 1
    if decoded >= {EVENTS}:
        print("decoded", decoded, flush=True)
    return decode(*arguments)
processor.decode = counting
"""


@pytest.fixture
def own_site(servers: LocalServers, own_redis_url: str, namespace: str) -> Site:
    """A site with a Redis that counts for nobody else."""
    return Site(servers.kafka, own_redis_url, namespace)


async def test_an_event_costs_no_more_work_than_it_must(own_site: Site) -> None:
    """A batch is read by at most three commands and written by one script; each record is decoded once; little is sent."""
    events = simulated(17, EVENTS)
    await own_site.make_topics()
    await own_site.publish(events)
    client: Any = redis.Redis.from_url(own_site.settings.redis)
    with own_site.worker(patch=COUNTS_DECODING) as worker:
        client.config_resetstat()
        await own_site.caught_up(worker)
        sent = client.info("stats")["total_net_input_bytes"]
        calls = {name: each["calls"] for name, each in client.info("commandstats").items()}
        await worker.says(f"decoded {EVENTS}\n")
        assert worker.times("decoded ") == 1, "a record is decoded once"
    client.close()
    counters = await own_site.counters()
    batches = sum(number for name, number in counters.items() if name.startswith("batches|"))
    assert batches <= calls["cmdstat_evalsha"] <= batches + SPARE, "a commit is one command"
    # The script itself reads what it compares, by one MGET for each 4,000 records.
    assert batches < calls["cmdstat_mget"] <= (MOST_READS + 3) * batches
    assert sent < MOST_BYTES * EVENTS
    assert await own_site.cells() == expected(events)
