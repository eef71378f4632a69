"""Looks at everything that salesfx stands on, and says what to do."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
from redis.exceptions import RedisError

from salesfx import feed
from salesfx.errors import SalesfxError
from salesfx.event_log.archive.reading import archive_of
from salesfx.forgotten_file import missing
from salesfx.kafka_log import KafkaLog, check_identity
from salesfx.lead_flow.closed_days import is_closed
from salesfx.reading.month import local_today
from salesfx.settings import Settings, masked_url
from salesfx.tables import RedisTables, tables_of
from salesfx.tables.away import redis_away
from salesfx.tables.definitions_check import may_upgrade
from salesfx.tables.generations import State
from salesfx.tables.layout import LOG_START, partition_field

_YEAR = 366


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    subject: str
    ok: bool
    detail: str
    """What was seen, or what is wrong and what to do."""


async def examine(settings: Settings) -> list[Finding]:
    """Look at Kafka, its topics, Redis, the tables, the feed and the lag; never raises for what is wrong with them.

    What stands on a server that is away is not looked at.
    """
    kafka_log = KafkaLog(settings)
    tables = tables_of(settings)
    try:
        kafka = await _look(settings, "kafka", lambda: _kafka(settings, kafka_log))
        redis = await _look(settings, "redis", lambda: _redis(settings, tables))
        findings = [
            kafka,
            redis,
            *withdrawn(settings),
            calendar(settings, local_today(datetime.now(UTC), settings.timezone)),
        ]
        if kafka.ok:
            findings.append(await _look(settings, "topics", lambda: _topics(settings, kafka_log)))
        if kafka.ok and settings.archive is not None:
            findings.append(await _look(settings, "archive", lambda: _archive(settings, kafka_log)))
        if redis.ok:
            findings.append(await _look(settings, "definitions", lambda: _definitions(settings, tables)))
            findings.append(await _look(settings, "generations", lambda: _generations(tables)))
            findings.append(await _look(settings, "feed", lambda: _feed(tables)))
        if kafka.ok and redis.ok:
            findings.append(await _look(settings, "log", lambda: _log(kafka_log, tables)))
            findings += await _partitions(kafka_log, tables)
        return findings
    finally:
        await tables.close()


def withdrawn(settings: Settings) -> list[Finding]:
    """Look whether the list of what is withdrawn is there, where one is named: not so is no fault before the first withdrawal."""
    if not settings.forgotten_file:
        return []
    there = f"{len(settings.forgotten.entries):,} names and ids are withdrawn by {settings.forgotten_file}"
    return [Finding("withdrawn", ok=True, detail=missing(settings.forgotten_file) or there)]


def calendar(settings: Settings, today: date) -> Finding:
    """Look whether the holidays of the year to come are known: without them each would look like a drop of the lead flow."""
    closed = is_closed(settings.holidays_country, settings.closed_days)
    coming = [day for day in (today + timedelta(ahead) for ahead in range(_YEAR)) if closed(day)]
    own = f"closed_days has {len(settings.closed_days)}"
    if not settings.holidays_country:
        return Finding("calendar", ok=True, detail=f"no public holidays, as holidays_country says; {own}")
    of = f"public holidays of {settings.holidays_country}"
    if not coming:
        return Finding(
            "calendar", ok=False, detail=f"no {of} are known of the year to come: update the package holidays"
        )
    return Finding("calendar", ok=True, detail=f"{of}; {own}; the next closed day is {coming[0]}")


async def _look(settings: Settings, subject: str, look: Callable[[], Coroutine[Any, Any, str]]) -> Finding:
    try:
        return Finding(subject, ok=True, detail=await look())
    except SalesfxError as error:
        return Finding(subject, ok=False, detail=str(error))
    except (RedisError, OSError) as error:
        return Finding(subject, ok=False, detail=str(redis_away(settings.redis, error)))


async def _kafka(settings: Settings, kafka_log: KafkaLog) -> str:
    identity = await asyncio.to_thread(kafka_log.identity)
    return f"{settings.kafka}, cluster {identity['cluster']}"


async def _topics(settings: Settings, kafka_log: KafkaLog) -> str:
    missing, forgetful = await asyncio.to_thread(kafka_log.unfit_topics)
    if missing or (forgetful and not settings.allow_retention):
        raise SalesfxError("; ".join(missing + forgetful))
    return "accepted by allow_retention: " + "; ".join(forgetful) if forgetful else "all there, and kept for ever"


async def _archive(settings: Settings, kafka_log: KafkaLog) -> str:
    """Look whether archive and log meet, and how much Kafka could forget that is not archived."""
    archive = archive_of(settings.archive, await asyncio.to_thread(kafka_log.identity))
    if archive is None:
        return "none"
    held = await asyncio.to_thread(kafka_log.ranges)
    ends = {at: (archive.manifest.span(*at) or (0, 0))[1] for at in held}
    gaps = [
        f"{topic}[{partition}] ends at {ends[topic, partition]} there, and begins at {begin} in Kafka"
        for (topic, partition), (begin, _) in held.items()
        if ends[topic, partition] < begin
    ]
    if gaps:
        raise SalesfxError(
            f"the events between the archive in {archive.folder} and the log are gone: {'; '.join(gaps)}"
        )
    written_at, waiting = archive.manifest.written_at, sum(end - min(end, ends[at]) for at, (_, end) in held.items())
    late = [f"{topic}[{at}]" for topic, at in held if (archive.manifest.span(topic, at) or (0, 0))[0] > 0]
    from_where = f"; of {', '.join(late)} it does not have the beginning" if late else ""
    age = "never" if written_at is None else f"{(datetime.now(UTC) - written_at).total_seconds() / 3600:,.1f} h ago"
    return f"{archive.folder} and the log meet; last added to {age}; {waiting:,} positions of the log are not in it yet{from_where}"


async def _redis(settings: Settings, tables: RedisTables) -> str:
    await tables.check()
    return f"{masked_url(settings.redis)}, evicts nothing"


async def _definitions(settings: Settings, tables: RedisTables) -> str:
    snapshot = await tables.snapshot()
    if snapshot is None:
        return "no tables yet; the first worker makes them"
    ours = settings.definitions
    if may_upgrade(snapshot.definitions, ours):
        return "rates were added; the next start of the worker takes them up"
    return f"the tables are made under those in force ({ours.fingerprint})"


async def _generations(tables: RedisTables) -> str:
    there = await tables.generations.all()
    beside = [f"{each.number} {_BESIDE[each.state].format(number=each.number)}" for each in there if not each.shown]
    shown = "".join(f"{each.number} is shown" for each in there if each.shown) or "none is shown"
    return "; ".join((shown, *beside))


_BESIDE = {
    State.BUILDING: "is half made (`salesfx rebuild` goes on with it, with --anyway where no setting has changed, or drops it where the settings are others)",
    State.COMPLETE: "is kept beside it (`salesfx generations drop {number}` deletes it)",
    State.DROPPING: "is half deleted (`salesfx generations drop {number}` goes on)",
}


async def _feed(tables: RedisTables) -> str:
    snapshot, now = await tables.snapshot(), datetime.now(UTC)
    wrong = [] if snapshot is None else [each.sentence for each in feed.troubles(snapshot, now)]
    if wrong:
        raise SalesfxError(" ".join(wrong))
    heard = {} if snapshot is None else feed.heard_feeds(snapshot)
    ago = [f"{name} {max(now - moment, timedelta()).total_seconds():.0f} s ago" for name, moment in heard.items()]
    return f"heartbeats: {', '.join(ago)}" if ago else "no heartbeat was heard yet; a worker sends one every minute"


async def _log(kafka_log: KafkaLog, tables: RedisTables) -> str:
    found = await asyncio.to_thread(kafka_log.identity)
    stored = await tables.stored_log_identity()
    check_identity(stored, found)
    later = [
        f"{name.removeprefix(LOG_START)} from {begin}" for name, begin in stored.items() if name.startswith(LOG_START)
    ]
    counted = f"; counted is only {', '.join(later)}, as --from-log-start said" if later else ""
    return "the offsets belong to this Kafka and these topics" + counted


async def _partitions(kafka_log: KafkaLog, tables: RedisTables) -> list[Finding]:
    """Compare the stored offset of every partition with its log."""
    try:
        ranges = await asyncio.to_thread(kafka_log.ranges)
        stored = await tables.offsets()
    except (SalesfxError, RedisError, OSError) as error:
        return [Finding("lag", ok=False, detail=f"cannot be told: {error}")]
    return [
        _partition(f"{topic}[{partition}]", stored.get(partition_field(topic, partition)), begin, end)
        for (topic, partition), (begin, end) in ranges.items()
    ]


def _partition(subject: str, stored: int | None, begin: int, end: int) -> Finding:
    if stored is None:
        return Finding(subject, ok=end == begin, detail=f"no offset is stored; {end - begin} events wait for a worker")
    if not begin <= stored <= end:
        return Finding(subject, ok=False, detail=f"the stored offset {stored} is out of its log, {begin} to {end}")
    return Finding(subject, ok=True, detail=f"at {stored} of {end}, lag {end - stored}")
