"""`salesfx restore`: a Kafka that lost its log gets the archive's events back, and the tables are the same again."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from salesfx.event_log.archive.restoring import NotEmptyError, TooFewPartitionsError, restore
from salesfx.event_log.archive.writing import write_archive
from salesfx.kafka_log import KafkaAwayError
from tests.integration.test_archive import (
    LEADS,
    in_kafka,
    lead,
    publish_oddities,
    publish_transactions,
)
from tests.worker_process import Message, Site, simulated


@pytest.fixture
def other(kafka: str, redis_url: str, namespace: str) -> Site:
    """What is left after a loss: a Kafka without topics, and an empty Redis."""
    return Site(kafka, redis_url, f"{namespace}-restored")


async def archived(site: Site, folder: Path) -> int:
    """Archive; give how many records there are."""
    return (await write_archive(site.settings, folder, datetime.now(UTC))).rows


async def messages(site: Site) -> dict[str, list[tuple[Any, ...]]]:
    """Give key, value and headers of all that Kafka has, by partition, in order."""
    return {
        at: [(key, value, headers) for *_, key, value, headers in all_] for at, all_ in (await in_kafka(site)).items()
    }


async def test_a_lost_log_is_put_back_and_makes_the_same_tables(site: Site, other: Site, folder: Path) -> None:
    """Each record in its partition and its order, byte by byte; refused and transactional ones too."""
    await publish_transactions(site, 2)
    await site.publish(simulated(6, 2000))
    await site.publish([Message(LEADS, b"not JSON", b"k", partition=1), Message(LEADS, None, b"k", partition=2)])
    rows = await archived(site, folder)
    with site.worker() as worker:
        await site.caught_up(worker)
    done = await restore(other.settings, folder)
    assert (done.rows, done.already) == (rows, 0)
    assert await messages(other) == await messages(site)
    with other.worker() as worker:
        await other.caught_up(worker)
    assert await other.cells() == await site.cells()
    assert len(await other.dead_letters()) == len(await site.dead_letters()) == 2


async def test_an_interrupted_one_goes_on_where_it_was(
    site: Site, other: Site, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is there twice, and nothing is missing."""
    await site.publish(simulated(6, 2000))
    await publish_oddities(site)
    rows = await archived(site, folder)
    send, sent = AIOKafkaProducer.send, 0

    async def failing(*arguments: Any, **options: Any) -> Any:
        nonlocal sent
        sent += 1
        if sent > 700:
            raise KafkaError("away")
        return await send(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(AIOKafkaProducer, "send", failing)
        with pytest.raises(KafkaAwayError, match="Run `salesfx restore` again"):
            await restore(other.settings, folder)
    done = await restore(other.settings, folder)
    assert done.already == 700
    assert done.rows + done.already == rows
    found, before = await messages(other), await messages(site)
    # A name of a header that is not UTF-8 gets replacement characters.
    assert {at: [each[:2] for each in all_] for at, all_ in found.items()} == {
        at: [each[:2] for each in all_] for at, all_ in before.items()
    }
    assert (await restore(other.settings, folder)).rows == 0


async def test_topics_that_are_in_use_are_left_alone(site: Site, other: Site, folder: Path) -> None:
    """Whether they have other events, or forgot some."""
    await site.publish([Message(LEADS, lead(number), partition=1) for number in range(5)])
    await archived(site, folder)
    await other.make_topics()
    (place,) = await other.publish([Message(LEADS, lead("another"), partition=1)])
    with pytest.raises(NotEmptyError, match=r"lead_created\[1\] holds events that are not the beginning"):
        await restore(other.settings, folder)
    await other.cut(place._replace(offset=1))
    with pytest.raises(NotEmptyError):
        await restore(other.settings, folder)
    assert sum((await other.ends()).values()) == 1


async def test_too_few_partitions_are_refused(site: Site, other: Site, folder: Path) -> None:
    """Before anything is published; it says how many there have to be."""
    await site.publish([Message(LEADS, lead(number), partition=number) for number in range(3)])
    await archived(site, folder)
    with other.admin() as admin:
        names = [other.topic(topic) for topic in ("lead_created", "quote_sent", "deal_closed", "salesfx.dead_letters")]
        await asyncio.to_thread(
            admin.create_topics, {name: {"num_partitions": 2, "replication_factor": 1} for name in names}
        )
    with pytest.raises(TooFewPartitionsError, match="at least 3 partitions"):
        await restore(other.settings, folder)
    assert sum((await other.ends()).values()) == 0
