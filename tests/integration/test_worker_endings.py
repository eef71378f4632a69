"""When a worker must not go on, or must not start: it ends, and says why and what to do."""

import asyncio
import re
import signal
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from kafka.admin import ConfigResource, ConfigResourceType

from salesfx.local import LocalServers
from salesfx.tables.layout import FIRST_GENERATION, Layout
from tests.worker_process import Message, Place, Site, WorkerProcess, eventually, expected, simulated

RESTART, ATTENTION = 1, 2
"""Exit statuses: a restart may help; somebody has to do something first."""
LOOKS_OFTEN = "import streams.watch\nstreams.watch.CHECK_SECONDS = 1\n"
"""What is looked at once a minute is looked at each time."""
WEEK_MS = str(7 * 24 * 3600 * 1000)


@pytest.fixture
def site(kafka: str, redis_url: str, namespace: str) -> Site:
    """Names of the test's own on the shared servers."""
    return Site(kafka, redis_url, namespace)


@pytest.fixture(scope="module")
def own_redis() -> Iterator[LocalServers]:
    """Start a Redis that the tests may do anything to."""
    with (
        tempfile.TemporaryDirectory(prefix="salesfx-own-") as folder,
        LocalServers(Path(folder), kafka=False) as servers,
    ):
        yield servers


def next_worker(site: Site, *options: str) -> AbstractContextManager[WorkerProcess]:
    """Run a worker after one that ended without a farewell, whose place in their group would be kept for 10 seconds."""
    return site.worker(*options, SALESFX_GROUP=f"{site.settings.group}-{uuid4().hex}")


async def filled(site: Site, events: list[Message], *options: str) -> None:
    """Have events taken to the tables by a worker that then ends."""
    await site.make_topics()
    await site.publish(events)
    with site.worker(*options) as worker:
        await site.caught_up(worker)
        worker.signal(signal.SIGTERM)
        assert await worker.ended() == 0


def fullest(places: list[Place], topic: str) -> Place:
    """Give the last place of the topic's partition that has most messages."""
    return max((place for place in places if place.topic.endswith(topic)), key=lambda place: place.offset)


# Redis.


async def test_a_redis_that_hangs_while_partitions_are_assigned_ends_the_worker(
    kafka: str, own_redis: LocalServers, namespace: str
) -> None:
    """Within 20 seconds, so that another can take the partitions over; Faust would hold them for ever, silently."""
    site = Site(kafka, own_redis.redis, namespace)
    await site.make_topics()
    with site.worker(patch=WAITS_WHEN_ASSIGNED) as worker:
        await worker.says("ASSIGNED")
        own_redis.redis_process.pause()
        try:
            assert await worker.ended(20) == RESTART
        finally:
            own_redis.redis_process.resume()
        assert "gave no answer within 10 s" in worker.sentence
        assert site.topic("lead_created") in worker.sentence


WAITS_WHEN_ASSIGNED = """
import asyncio
from streams.transport import BatchConsumer
seek = BatchConsumer.seek_to_committed
async def waiting(self):
    if self.assignment():
        print("ASSIGNED", flush=True)
        await asyncio.sleep(1)
    return await seek(self)
BatchConsumer.seek_to_committed = waiting
"""


async def test_a_redis_that_evicts_is_refused(kafka: str, own_redis: LocalServers, namespace: str) -> None:
    """At the start, and when it is set so while the worker runs: records would go without a word."""
    site = Site(kafka, own_redis.redis, namespace)
    client = redis.Redis.from_url(own_redis.redis)
    try:
        with site.worker(patch=LOOKS_OFTEN) as worker:
            await worker.says("reading")
            client.config_set("maxmemory-policy", "allkeys-lru")
            assert await worker.ended() == ATTENTION
            assert "maxmemory-policy allkeys-lru" in worker.sentence
        with site.worker() as worker:
            assert await worker.ended() == ATTENTION
            assert "maxmemory-policy allkeys-lru" in worker.sentence
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        client.close()


async def test_nothing_committed_for_long_ends_the_worker(site: Site) -> None:
    """A worker that is stuck with events to read ends, and names a partition that it is stuck with."""
    await site.make_topics()
    await site.publish(simulated(1, 100))
    with site.worker(patch=STUCK, SALESFX_WATCHDOG_SECONDS="5") as worker:
        assert await worker.ended() == RESTART
        assert f"nothing was committed of {site.settings.topic_prefix}" in worker.sentence


STUCK = """
import asyncio
from streams.processor import Processor
async def stuck(self, batch):
    await asyncio.sleep(1000)
Processor.process = stuck
"""


# The log.


@pytest.mark.parametrize("new_events", [0, 100])
async def test_a_topic_made_again_under_a_running_worker_ends_it(site: Site, new_events: int) -> None:
    """A topic that was deleted and made again, with fewer events than were read, is not read into nothing."""
    await site.make_topics()
    await site.publish(simulated(2, 2000))
    with site.worker() as worker:
        await site.caught_up(worker)
        await site.remake_topic("lead_created")
        await site.publish(message for message in simulated(3, new_events) if message.topic == "lead_created")
        assert await worker.ended() in {RESTART, ATTENTION}
        assert "deleted and made again" in worker.sentence or "made again since" in worker.sentence
    with next_worker(site) as worker:
        assert await worker.ended() == ATTENTION
        assert "made again since" in worker.sentence


async def test_a_topic_made_again_and_refilled_is_told_by_its_id(site: Site) -> None:
    """A topic made again that holds more events than were read looks like the old one, but for its id."""
    await site.make_topics()
    await site.publish(simulated(4, 1000))
    with site.worker(patch=LOOKS_OFTEN) as worker:
        await site.caught_up(worker)
        worker.signal(signal.SIGSTOP)
        await site.remake_topic("lead_created")
        await site.publish(message for message in simulated(5, 4000) if message.topic == "lead_created")
        worker.signal(signal.SIGCONT)
        assert await worker.ended() == ATTENTION
        assert "has another topic lead_created, made again since" in worker.sentence
        assert "`namespace`" in worker.sentence, "it says what to do"
    with next_worker(site) as worker:
        assert await worker.ended() == ATTENTION
        assert "has another topic lead_created, made again since" in worker.sentence


async def test_a_topic_that_forgets_is_refused_unless_the_settings_allow_it(site: Site) -> None:
    """retention.ms of a week: the refusal names the topic, the setting, and how to accept it."""
    await site.make_topics()
    events = simulated(6, 300)
    await site.publish(events)

    def forget() -> None:
        with site.admin() as admin:
            name = site.topic("quote_sent")
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {"retention.ms": WEEK_MS})])

    await asyncio.to_thread(forget)
    with site.worker() as worker:
        assert await worker.ended() == ATTENTION
        assert f"{site.topic('quote_sent')} has retention.ms={WEEK_MS}" in worker.sentence
        assert "SALESFX_ALLOW_RETENTION=true" in worker.sentence
    with site.worker(SALESFX_ALLOW_RETENTION="true") as worker:
        await site.caught_up(worker)
    assert await site.cells() == expected(events)


async def test_a_log_without_its_beginning_is_only_read_when_told_so(site: Site) -> None:
    """Where Kafka has forgotten the first events the worker asks for --from-log-start, and with it counts what is there."""
    await site.make_topics()
    events = simulated(7, 1000)
    places = await site.publish(events)
    last = fullest(places, "lead_created")
    cut = last._replace(offset=last.offset // 2)
    await site.cut(cut)
    with site.worker() as worker:
        assert await worker.ended() == ATTENTION
        assert (
            f"no offset is stored for {cut.topic}[{cut.partition}], and its log begins at {cut.offset}"
            in worker.sentence
        )
        assert "--from-log-start" in worker.sentence
    left = [
        event
        for event, at in zip(events, places, strict=True)
        if (at.topic, at.partition) != (cut.topic, cut.partition) or at.offset >= cut.offset
    ]
    with next_worker(site, "--from-log-start") as worker:
        await site.caught_up(worker)
        assert await site.cells() == expected(left)
    more = simulated(7, 1100)[1000:]
    await site.publish(more)
    with next_worker(site) as worker:
        await site.caught_up(worker)
        assert await site.cells() == expected(left + more)


async def test_a_stored_offset_that_the_log_does_not_have_ends_the_worker(site: Site) -> None:
    """Beyond the log's end, and before its beginning; the sentence names partition and offsets."""
    events = simulated(8, 1000)
    await filled(site, events)
    offsets = Layout(site.settings.namespace, FIRST_GENERATION).offsets
    client = redis.Redis.from_url(site.settings.redis)
    stored = int(client.hget(offsets, "lead_created:1") or 0)
    client.hset(offsets, "lead_created:1", "1000000")
    with site.worker() as worker:
        assert await worker.ended() == ATTENTION
        sentence = (
            f"the stored offset of {site.topic('lead_created')}[1] is 1000000, but its log ends already at {stored}"
        )
        assert sentence in worker.sentence
    client.hset(offsets, "lead_created:1", "5")
    await site.cut(Place(site.topic("lead_created"), 1, 10))
    with next_worker(site) as worker:
        assert await worker.ended() == ATTENTION
        assert (
            f"the stored offset of {site.topic('lead_created')}[1] is 5, but its log begins only at 10"
            in worker.sentence
        )
    client.close()


# Settings and defects.


async def test_another_time_zone_is_refused_on_live_tables(site: Site) -> None:
    """Tables of two meanings are never mixed: the newcomer ends and says what changed, the running worker goes on."""
    await site.make_topics()
    events = simulated(9, 600)
    await site.publish(events[:300])
    with site.worker() as worker:
        await site.caught_up(worker)
        with site.worker(SALESFX_TIMEZONE="America/New_York") as newcomer:
            assert await newcomer.ended() == ATTENTION
            assert "timezone" in newcomer.sentence
            assert "Europe/Sofia" in newcomer.sentence
            assert "America/New_York" in newcomer.sentence
        await site.publish(events[300:])
        await site.caught_up(worker)
    assert await site.cells() == expected(events)


async def test_a_defect_that_stays_ends_the_worker_and_names_the_place(site: Site) -> None:
    """The same batch failing twice ends the worker; nothing is lost, and a mended worker goes on from there."""
    await site.make_topics()
    events = simulated(10, 1000)
    await site.publish([event._replace(partition=2) for event in events])
    with site.worker(patch=FAILS_AT_100) as worker:
        assert await worker.ended() == ATTENTION
        place = re.escape(f"the events of {site.topic('lead_created')}[2]")
        found = re.search(place + r" from offset (\d+) to (\d+) cannot be processed", worker.sentence)
        assert found is not None
        assert int(found[1]) <= 100 < int(found[2])
        assert "RuntimeError: broken" in worker.sentence
        assert "Traceback" in worker.log
    with next_worker(site) as worker:
        await eventually("it goes on", lambda: past(site, 100))
        await site.caught_up(worker)
    assert await site.cells() == expected(events)


async def past(site: Site, offset: int) -> bool:
    """Tell whether the partition of the defect is read beyond an offset."""
    return (await site.offsets()).get("lead_created:2", 0) > offset


FAILS_AT_100 = """
import streams.app
streams.app.BATCH_RECORDS = 50
from streams.processor import Processor
commit = Processor._commit
def failing(self, work, *rest):
    if any(each.topic == "lead_created" and each.before <= 100 < each.after for each in work.ranges):
        raise RuntimeError("broken")
    return commit(self, work, *rest)
Processor._commit = failing
"""


# Being told to stop.


async def test_a_worker_stops_when_told_though_its_servers_are_away(namespace: str, tmp_path: Path) -> None:
    """Kafka's client would wait for a minute; nothing is lost by not waiting for it."""
    with LocalServers(tmp_path) as servers:
        site = Site(servers.kafka, servers.redis, namespace)
        await site.make_topics()
        events = simulated(14, 30)
        await site.publish(events)
        with site.worker() as worker:
            await site.caught_up(worker)
            servers.kafka_process.kill()
            servers.redis_process.kill()
            worker.signal(signal.SIGTERM)
            assert await worker.ended(15) == 0
