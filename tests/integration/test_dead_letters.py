"""Dead letters on a real Kafka and Valkey, with real workers: what replay and drop do, and what the commands tell."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner, Result
from kafka import KafkaProducer

from salesfx.cli.dead_letters import dead_letters
from salesfx.dead_letters.box import Box
from salesfx.dead_letters.letter import Place
from salesfx.events import DEAD_LETTERS
from salesfx.settings import Settings, load_settings
from tests.integration.test_worker import NotText
from tests.worker_process import Message, Site, expected, simulated

PAGE = " ".join((Path(__file__).parent.parent.parent / "docs" / "dead-letters.md").read_text(encoding="utf-8").split())
USD = '[[rates]]\ncurrency = "USD"\nsince = 2000-01-01\nper_euro = "1.25"\n'


@pytest.fixture
def site(kafka: str, redis_url: str, namespace: str) -> Site:
    """Names of this test's own."""
    return Site(kafka, redis_url, namespace)


@pytest.fixture
def with_usd(tmp_path: Path) -> str:
    """Settings with a rate for the dollar, as a file."""
    file = tmp_path / "salesfx.toml"
    file.write_text(USD, encoding="utf-8")
    return str(file)


async def run(site: Site, *arguments: str, config: str | None = None, status: int | None = 0) -> Result:
    """Run `salesfx dead-letters`, and see its exit status."""
    settings = load_settings(Path(config) if config else None, site.environ)
    result = await asyncio.to_thread(CliRunner().invoke, dead_letters, list(arguments), obj=settings)
    assert status is None or result.exit_code == status, (result.output, result.exception)
    return result


async def told(site: Site, *arguments: str, config: str | None = None, status: int = 0) -> Any:
    """Run it with --json, read what it prints, and see that the page names every field of it."""
    found = json.loads((await run(site, *arguments, "--json", config=config, status=status)).stdout)
    assert not {name for name in names_in(found) if f"`{name}`" not in PAGE and f'`{{"{name}": ...}}`' not in PAGE}
    return found


def names_in(value: Any) -> set[str]:
    """Collect the names of all fields, however deep."""
    if isinstance(value, dict):
        return {*value, *names_in(list(value.values()))}
    return {name for each in value for name in names_in(each)} if isinstance(value, list) else set()


async def statuses(site: Site) -> dict[str, str]:
    """Tell what became of every letter."""
    return {letter["key"]: letter["status"] for letter in (await told(site, "list", "--all"))["letters"]}


def key(place: Any) -> str:
    """Name the letter of the event at a place."""
    return f"{place.topic}-{place.partition}-{place.offset}"


def in_dollars(count: int) -> list[Message]:
    """Make quotes and won deals whose currency has no rate at first."""
    made = []
    for number in range(count):
        occurred_at = f"2026-{1 + number % 12:02}-05T09:00:00Z"
        common = {"event_id": f"u{number}", "lead_id": f"UL{number}", "occurred_at": occurred_at}
        priced = {**common, "amount": f"{100 + number}.50", "currency": "USD"}
        topic, fields = (
            ("deal_closed", {"deal_id": f"UD{number}", "outcome": "won", **priced})
            if number % 3 == 0
            else ("quote_sent", {"quote_id": f"UQ{number}", "need": "crm", **priced})
        )
        made.append(Message(topic, json.dumps(fields).encode(), b"k%d" % number, partition=number % 3))
    return made


async def test_replay_after_the_remedy_puts_the_refused_events_to_use(site: Site, with_usd: str) -> None:
    """A rate is added: all refused events merge, the tables are those of all events; once more there is nothing to do."""
    await site.make_topics()
    dollars, euros = in_dollars(30), simulated(5, 300)
    with site.worker() as worker:
        places = await site.publish([*euros, *dollars])
        await site.caught_up(worker)
    before = await site.cells()
    assert before == expected(euros)
    assert set((await statuses(site)).values()) == {"open"}

    # Without the rate nothing is published.
    ends = await site.ends()
    left = await told(site, "replay", "--reason", "no_rate", status=1)
    assert (left["replayed"], left["not_usable"], await site.ends()) == (0, 30, ends)
    dry = await told(site, "replay", "--reason", "no_rate", "--dry-run", config=with_usd)
    assert (dry["replayed"], await site.ends()) == (30, ends)

    with site.worker(SALESFX_CONFIG=with_usd) as worker:
        done = await told(site, "replay", "--reason", "no_rate", "--wait", "100", config=with_usd)
        assert (done["replayed"], done["merged"], done["waiting"], done["refused_again"]) == (30, 30, 0, 0)
        assert {letter["key"] for letter in done["letters"]} == {key(place) for place in places[-30:]}
        assert await site.cells() == expected([*euros, *dollars], load_settings(Path(with_usd), {}).definitions)
        assert set((await statuses(site)).values()) == {"merged"}

        counters, ends = await site.counters(), await site.ends()
        again = await told(site, "replay", "--reason", "no_rate", "--wait", "100", config=with_usd)
        assert (again["replayed"], await site.ends()) == (0, ends)
        named = await told(site, "replay", key(places[-1]), config=with_usd)
        assert (named["replayed"], named["skipped"]) == (0, [{"key": key(places[-1]), "status": "merged"}])
        assert await site.ends() == ends
    # A refusal stays counted as one; the event published again counts as processed.
    assert sum(n for name, n in counters.items() if name.startswith("rejected|")) == 30
    assert sum(n for name, n in counters.items() if name.startswith("processed|")) == 330


async def test_a_replay_that_is_refused_again_leads_on_to_its_letter(site: Site) -> None:
    """The first letter says so and names the next, which is the open one and names the first; so it goes on."""
    await site.make_topics()
    with site.worker() as worker:
        (place,) = await site.publish([Message("quote_sent", in_dollars(2)[1].value, None, [("trace", b"\x00\xff")])])
        await site.caught_up(worker)
        first = key(place)
        chain = [first]
        for _ in range(2):
            report = await told(site, "replay", chain[-1], "--even-unusable", "--wait", "100", status=1)
            assert (report["replayed"], report["refused_again"]) == (1, 1)
            assert report["letters"][0]["detail"].startswith("no_rate: ")
            chain.append(report["letters"][0]["replayed_to"])
    assert await statuses(site) == {first: "refused_again", chain[1]: "refused_again", chain[2]: "open"}
    last = await told(site, "show", chain[2])
    assert (last["replay_of"], last["usable_now"]["usable"]) == (chain[1], False)
    assert last["event"]["key"] is None
    assert last["event"]["headers"] == [
        {"name": "trace", "value": {"base64": "AP8="}},
        {"name": "salesfx_replay_of", "value": {"text": chain[1]}},
    ]
    shown = (await run(site, "show", first)).stdout
    assert f"refused again, and that letter is open: {chain[2]}" in shown
    assert [letter["key"] for letter in (await told(site, "list"))["letters"]] == [chain[2]]


async def test_what_a_letter_lacks_is_read_where_the_event_lies(site: Site, with_usd: str) -> None:
    """Headers that were too many, and a value that was cut, come from the log; where it has them no more, replay says so.

    CloudEvents in headers, keys of any bytes and none at all arrive as they were.
    """
    await site.make_topics()
    ce = [("ce_specversion", b"1.0"), ("ce_id", b"c-1"), ("ce_time", b"2026-10-05T09:00:00Z")]
    priced = b'"need": "crm", "amount": 10, "currency": "USD"}'
    bulky = [*ce, ("bulk", b"x" * 70_000)]
    messages = [
        Message("quote_sent", b'{"quote_id": "Q1", ' + priced, b"\xff\x00", ce, 0),
        Message("quote_sent", b'{"quote_id": "Q2", ' + priced, None, bulky, 1),
        Message("quote_sent", b'{"quote_id": "Q3", "event_id": "e", ' + priced, b"k" * 70_000, ce, 1),
        Message("quote_sent", b'{"quote_id": "Q4", ' + priced, b"gone", bulky, 2),
    ]
    with site.worker() as worker:
        places = await site.publish(messages)
        await site.caught_up(worker)
    await site.cut(places[3]._replace(offset=places[3].offset + 1))
    messages.insert(3, Message("quote_sent", b'{"quote_id": "Q5", ' + priced, b"cut", ce, 0))
    places[3:3] = await site.publish(messages[3:4])
    kept = messages[3].value or b""
    await letter(site, Place(*places[3]), kept[:20], ("key", b"cut"), ("truncated", b"true"))
    lacking = await told(site, "show", key(places[3]), config=with_usd)
    assert (lacking["event"]["truncated"], lacking["usable_now"]["usable"]) == (True, True)

    with site.worker(SALESFX_CONFIG=with_usd) as worker:
        report = await told(site, "replay", "--all", "--wait", "100", config=with_usd, status=1)
        assert (report["merged"], report["not_possible"]) == (4, 1)
        (lost,) = [letter for letter in report["letters"] if letter["result"] == "not_possible"]
        assert lost["key"] == key(places[4])
        assert key(places[4]) in lost["detail"]
        await site.caught_up(worker)
    published = {letter["key"]: letter["replayed_to"] for letter in report["letters"]}
    with Box(site.settings) as box:
        for place, message in zip(places[:4], messages, strict=False):
            record = box.original(place_of(published[key(place)]))
            assert record is not None
            assert (record.partition, record.key, record.value) == (place.partition, message.key, message.value)
            assert record.headers == [*message.headers, ("salesfx_replay_of", key(place).encode())]


async def letter(site: Site, origin: Place, value: bytes | None, *more: tuple[str, bytes], **where: Any) -> None:
    """Write a letter by hand: one that lacks something, or a forged one."""
    headers = [
        ("reason", b"no_rate"),
        ("detail", b"by hand"),
        ("topic", origin.topic.encode()),
        ("partition", str(origin.partition).encode()),
        ("offset", str(origin.offset).encode()),
        *more,
    ]
    await site.publish([Message(DEAD_LETTERS, value, str(origin).encode(), headers, where.get("number"))])


async def test_an_end_between_event_and_mark_changes_no_number(
    site: Site, with_usd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The letters stay open; the next replay publishes once more and marks them, and nothing counts twice."""
    await site.make_topics()
    dollars = in_dollars(9)
    definitions = load_settings(Path(with_usd), {}).definitions
    with site.worker() as worker:
        await site.publish(dollars)
        await site.caught_up(worker)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with site.worker(SALESFX_CONFIG=with_usd) as worker:
        with monkeypatch.context() as broken:
            broken.setattr(Box, "mark", killed)
            await run(site, "replay", "--all", config=with_usd, status=1)
        ends = sum((await site.ends()).values())
        assert ends > len(dollars), "some were published"
        await site.caught_up(worker)
        assert set((await statuses(site)).values()) == {"open"}
        assert await site.cells() == expected(dollars, definitions)

        report = await told(site, "replay", "--all", "--wait", "100", config=with_usd)
        assert report["merged"] == len(dollars)
        await site.caught_up(worker)
        assert await site.cells() == expected(dollars, definitions)
        assert sum((await site.ends()).values()) > 2 * len(dollars), "all were published once more, some twice"


async def test_letters_are_chosen_by_what_they_are_and_dropped_ones_are_off_the_list(site: Site) -> None:
    """By reason, topic and time; a dropped letter stays in the topic, and is replayed where it is named."""
    await site.make_topics()
    broken = [Message("lead_created", b"{", b"L"), Message("deal_closed", b"\x1b[31m", b"D")]
    with site.worker() as worker:
        places = await site.publish([*in_dollars(6), *broken])
        await site.caught_up(worker)
        everything = await told(site, "list")
        assert everything["summary"] == [
            {"topic": site.topic("deal_closed"), "reason": "no_rate", "count": 2},
            {"topic": site.topic("deal_closed"), "reason": "not_json", "count": 1},
            {"topic": site.topic("lead_created"), "reason": "not_json", "count": 1},
            {"topic": site.topic("quote_sent"), "reason": "no_rate", "count": 4},
        ]
        for conditions, count in (
            (["--reason", "not_json"], 2),
            (["--topic", "quote_sent"], 4),
            (["--reason", "not_json", "--topic", "deal_closed"], 1),
            (["--since", "2026-01-01"], 8),
            (["--until", "2026-01-01T00:00:00Z"], 0),
            (["--status", "dropped"], 0),
        ):
            assert (await told(site, "list", *conditions))["count"] == count, conditions
        newest = everything["letters"][0]["refused_at"]
        assert (await told(site, "list", "--since", newest))["count"] >= 1
        assert (await told(site, "list", "--until", everything["letters"][-1]["refused_at"]))["count"] == 0
        few = await told(site, "list", "--limit", "3")
        assert (len(few["letters"]), few["left_off"], few["letters"]) == (3, 5, everything["letters"][:3])

        dropped = key(places[-1])
        assert (await told(site, "drop", "--reason", "not_json", "--note", "the test system's"))["dropped"] == 2
        assert (await told(site, "drop", dropped))["skipped"] == [{"key": dropped, "status": "dropped"}]
        assert {letter["reason"] for letter in (await told(site, "list"))["letters"]} == {"no_rate"}
        shown = (await run(site, "show", dropped)).stdout
        assert "dropped: the test system's" in shown
        assert "\x1b" not in shown, "a letter gives no orders to the terminal"
        assert (await told(site, "replay", "--reason", "not_json"))["replayed"] == 0
        taken_up = await told(site, "replay", dropped, "--even-unusable", "--wait", "100", status=1)
        assert taken_up["refused_again"] == 1

        ends = await site.ends()
        for refused in (["replay"], ["drop"], ["drop", dropped, "--all"], ["list", "--all", "--status", "open"]):
            await run(site, *refused, status=2)
        unknown = await run(site, "replay", "lead_created-0-999", status=1)
        assert "there is no letter lead_created-0-999" in str(unknown.exception)
        assert await site.ends() == ends
    waiting = await told(site, "replay", key(places[0]), "--even-unusable", "--wait", "1", status=1)
    assert waiting["waiting"] == 1
    assert (await statuses(site))[key(places[0])] == "waiting"


async def test_letters_that_are_written_again_open_nothing(site: Site, with_usd: str) -> None:
    """A Redis that lost everything: the worker reads all again, and refuses again what it refused; the statuses stay."""
    await site.make_topics()
    dollars, broken = in_dollars(3), Message("lead_created", b"{", b"L")
    with site.worker() as worker:
        *_, bad = await site.publish([*dollars, broken])
        await site.caught_up(worker)
    with site.worker(SALESFX_CONFIG=with_usd) as worker:
        await told(site, "replay", "--reason", "no_rate", "--wait", "100", config=with_usd)
        await told(site, "drop", key(bad))
        known = await statuses(site)
        assert sorted(known.values()) == ["dropped", "merged", "merged", "merged"]
        lose_everything(site)
        await worker.says("is read again")
        await site.caught_up(worker)
        assert await statuses(site) == known
        assert (await told(site, "show", key(bad)))["repeats"] == 1
        assert await site.cells() == expected(dollars, load_settings(Path(with_usd), {}).definitions)


@pytest.mark.parametrize("compression", [None, "gzip"])
async def test_a_header_name_that_is_not_utf8_hides_no_letter(
    site: Site, with_usd: str, compression: str | None
) -> None:
    """Whether a foreign record of the dead-letter topic has it or an event, which is replayed with all of its batch."""
    await site.make_topics()
    bulk = ("bulk", b"x" * 70_000)
    odd = [bulk, (NotText("trace"), b"\x01\xff")]
    quotes = [message._replace(topic="quote_sent") for message in in_dollars(5) if message.topic == "quote_sent"]

    def publish_together(topic: str, messages: list[tuple[Any, Any, Any]]) -> None:
        producer = KafkaProducer(
            bootstrap_servers=site.settings.kafka, compression_type=compression, linger_ms=500, batch_size=500_000
        )
        for its_key, value, headers in messages:
            producer.send(site.topic(topic), value, its_key, headers, partition=0)
        producer.flush()
        producer.close()

    batch = [(quote.key, quote.value, odd if number == 1 else [bulk]) for number, quote in enumerate(quotes)]
    assert len(batch) == 3
    with site.worker() as worker:
        await asyncio.to_thread(publish_together, "quote_sent", batch)
        await site.caught_up(worker)
    refused = [f"{site.topic('quote_sent')}-0-{offset}" for offset in range(3)]
    dropped = (refused[2].encode(), None, [("disposition", b"dropped")])
    foreign = (b"hello", b"world", [(NotText("x"), b"1")])
    await asyncio.to_thread(publish_together, DEAD_LETTERS, [foreign, dropped, foreign])
    assert (await told(site, "list", "--all"))["not_letters"] == 2
    assert await statuses(site) == {refused[0]: "open", refused[1]: "open", refused[2]: "dropped"}
    assert (await told(site, "show", refused[2], config=with_usd))["usable_now"]["usable"] is True

    with site.worker(SALESFX_CONFIG=with_usd):
        report = await told(site, "replay", *refused, "--wait", "100", config=with_usd)
        assert report["merged"] == 3
        events = [Message("quote_sent", quote.value) for quote in quotes]
        assert await site.cells() == expected(events, load_settings(Path(with_usd), {}).definitions)
    (again,) = [place_of(letter["replayed_to"]) for letter in report["letters"] if letter["key"] == refused[1]]
    with Box(site.settings) as box:
        record = box.original(again)
    assert record is not None
    assert record.headers == [bulk, ("\ufffd\ufffdtrace", b"\x01\xff"), ("salesfx_replay_of", refused[1].encode())]


def place_of(text: str) -> Place:
    """Read a place that must be one."""
    place = Place.parse(text)
    assert place is not None
    return place


@pytest.mark.parametrize("same", [False, True])
async def test_what_a_topic_made_again_refuses_is_open_and_is_what_is_replayed(
    site: Site, with_usd: str, *, same: bool
) -> None:
    """Offsets begin anew: another event, or the same published once more, lies where a letter was dropped or replayed."""
    await site.make_topics()
    old, other = (message._replace(partition=0) for message in in_dollars(3)[1:])
    with site.worker() as worker:
        places = await site.publish([old, old])
        await site.caught_up(worker)
        first, second = map(key, places)
        await told(site, "drop", first)
        assert (await told(site, "replay", second, "--even-unusable", "--wait", "100", status=1))["refused_again"] == 1
        third = place_of(second)._replace(offset=2)
    assert await statuses(site) == {first: "dropped", second: "refused_again", str(third): "open"}

    await site.remake_topic("quote_sent")
    name = site.settings.namespace + "-again"
    again = Site(
        site.settings.kafka,
        site.settings.redis,
        site.settings.namespace,
        SALESFX_NAMESPACE=name,
        SALESFX_GROUP=name,
    )
    new = old if same else other
    with again.worker() as worker:
        assert await again.publish([new]) == places[:1]
        await again.caught_up(worker)
        assert (await told(again, "list"))["letters"][0]["status"] == "open"
        assert (await statuses(again))[first] == "open"
        shown = await told(again, "show", first)
        assert (shown["history"], shown["earlier_events"]) == ([], 1)
        assert shown["event"]["value"] == {"text": (new.value or b"").decode()}
    with again.worker(SALESFX_CONFIG=with_usd):
        report = await told(again, "replay", first, "--wait", "100", config=with_usd)
        assert (report["merged"], report["letters"][0]["replayed_to"]) == (1, second), "where a letter lay before"
        assert (await statuses(again))[first] == "merged"
        assert await again.cells() == expected([new], load_settings(Path(with_usd), {}).definitions)


def lose_everything(site: Site) -> None:
    """Delete all that this site has in Redis."""
    client = redis.Redis.from_url(site.settings.redis)
    with client:
        keys = list(client.scan_iter(f"{{{site.settings.namespace}}}*", count=1000))
        client.delete(*keys)


@asynccontextmanager
async def transaction(site: Site, *, commit: bool) -> AsyncIterator[AIOKafkaProducer]:
    """Give a producer in a transaction, which is then committed or aborted."""
    name = f"{site.settings.namespace}-{random.random()}"
    producer = AIOKafkaProducer(bootstrap_servers=site.settings.kafka, transactional_id=name)
    await producer.start()
    try:
        await producer.begin_transaction()
        yield producer
        await (producer.commit_transaction() if commit else producer.abort_transaction())
    finally:
        await producer.stop()


async def test_what_is_no_letter_is_counted_and_disturbs_nobody(site: Site) -> None:
    """Records of others, forged letters and marks, and aborted transactions, also at the topic's end."""
    await site.make_topics()
    origin = Place(site.topic("lead_created"), 0, 7)
    await letter(site, origin, b"{", number=0)
    junk = [
        Message(DEAD_LETTERS, b"value"),
        Message(DEAD_LETTERS, None, b"\xff\xfe"),
        Message(DEAD_LETTERS, None, str(origin).encode(), [("disposition", b"eaten")]),
        Message(DEAD_LETTERS, None, str(origin).encode(), [("disposition", b"replayed"), ("replayed_to", b"\xff")]),
        Message(DEAD_LETTERS, b"{", b"lead_created-0-8", [("reason", b"no_rate"), ("topic", b"lead_created")]),
        Message(DEAD_LETTERS, b"{", b"lead_created-0-8", [("reason", b"")]),
    ]
    await site.publish(junk)
    for commit in (True, False):
        async with transaction(site, commit=commit) as producer:
            for number in range(3):
                message = Message(DEAD_LETTERS, b"x", str(origin).encode(), [("disposition", b"dropped")], number)
                await (await site.send(producer, message))
            if commit:
                continue
    found = await told(site, "list", "--all")
    assert found["not_letters"] == len(junk)
    assert (found["count"], found["letters"][0]["status"]) == (1, "dropped"), "a mark that was committed counts"

    foreign = Place("elsewhere", 0, 1)
    await letter(site, foreign, b"{")
    report = await told(site, "replay", str(foreign), "--even-unusable", status=1)
    assert report["not_possible"] == 1
    assert "is no topic of these settings" in report["letters"][0]["detail"]


async def test_without_redis_or_topic_it_says_so(site: Site, kafka: str, namespace: str) -> None:
    """No topic is a sentence; without a Redis what became of a replayed letter is not claimed to be known."""
    missing = await run(site, "list", status=1)
    assert "has no topic" in str(missing.exception)
    await site.make_topics()
    origin = Place(site.topic("lead_created"), 0, 7)
    await letter(site, origin, b"{", number=0)
    await told(site, "replay", str(origin), "--even-unusable")
    assert await statuses(site) == {str(origin): "waiting"}
    away = Site(kafka, "redis://127.0.0.1:1/0", namespace)
    settings: Settings = away.settings
    assert settings.topic_prefix == site.settings.topic_prefix
    assert await statuses(away) == {str(origin): "replayed"}
    listed = await run(away, "list", "--all")
    assert "cannot be used" in listed.stderr
