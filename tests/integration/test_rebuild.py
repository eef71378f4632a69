"""`salesfx rebuild` and `salesfx generations` as processes, beside real workers, a real Kafka and a real Valkey."""

import asyncio
import contextlib
import hashlib
import itertools
import os
import pty
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis as redis_py

from salesfx.definitions import Definitions
from salesfx.kpi import Cells
from salesfx.settings import load_settings
from salesfx.tables import RedisTables, Snapshot, connect
from salesfx.tables.generations import State
from salesfx.tables.layout import Layout, to_cells
from tests.worker_process import PATIENCE, Message, Place, Site, eventually, expected, simulated

TOKYO = {"SALESFX_TIMEZONE": "Asia/Tokyo"}
BY_TOKYO = Definitions(timezone="Asia/Tokyo")


@pytest.fixture
def site(kafka: str, redis_url: str, namespace: str) -> Site:
    """Names that no other test uses."""
    return Site(kafka, redis_url, namespace)


@pytest.fixture
def own_site(kafka: str, own_redis_url: str, namespace: str) -> Site:
    """The same in a Valkey whose memory may be bounded."""
    return Site(kafka, own_redis_url, namespace)


def started(site: Site, words: Sequence[str], environ: Mapping[str, str], **streams: Any) -> "subprocess.Popen[str]":
    """Start a `salesfx` command in a process of its own."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("SALESFX_")}
    path = {"PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    command = [sys.executable, "-m", "salesfx", *words]
    return subprocess.Popen(command, env={**ours, **path, **site.environ, **environ}, text=True, **streams)


class Command:
    """A `salesfx` command without a terminal."""

    def __init__(self, site: Site, *words: str, **environ: str) -> None:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = started(site, words, environ, **pipes)

    async def done(self, status: int = 0) -> str:
        """Wait for its end, which must be with this status; give what it printed, the errors after the rest."""
        out, errors = await asyncio.to_thread(self.process.communicate, timeout=PATIENCE)
        assert self.process.returncode == status, f"{self.process.returncode}\n{out}\n{errors}"
        return out + errors

    async def answer(self) -> Any:
        """Wait for its end, and give the document that it printed."""
        out, errors = await asyncio.to_thread(self.process.communicate, timeout=PATIENCE)
        assert self.process.returncode == 0, f"{out}\n{errors}"
        return msgspec.json.decode(out)

    def kill(self) -> None:
        """End it as a power cut does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


@asynccontextmanager
async def opened(site: Site) -> AsyncIterator[RedisTables]:
    """Give a client of the tables."""
    tables = RedisTables(connect(site.settings.redis), site.settings.namespace)
    try:
        yield tables
    finally:
        await tables.close()


async def cells_of(site: Site, generation: str | None = None) -> Cells:
    """Read all cells of a generation, or of the one that is shown."""
    async with opened(site) as tables:
        snapshot = await tables.snapshot(None, generation)
    return {} if snapshot is None else cells_in(snapshot)


def cells_in(snapshot: Snapshot) -> Cells:
    """Give the cells of a snapshot."""
    return to_cells(snapshot.tables.items())


def digest(site: Site, generation: str) -> str:
    """Digest everything of a generation, as Redis itself would write it down."""
    client: Any = redis_py.Redis.from_url(site.settings.redis)
    prefix = Layout(site.settings.namespace, generation).prefix
    told = hashlib.sha256()
    for key in sorted(client.scan_iter(match=prefix + "*", count=10_000)):
        kind = client.type(key)
        content = sorted(client.hgetall(key).items()) if kind == b"hash" else client.dump(key)
        content = sorted(client.smembers(key)) if kind == b"set" else content
        told.update(repr((key, content)).encode())
    client.close()
    return told.hexdigest()


def keys_of(site: Site, generation: str) -> int:
    """Count the keys of a generation."""
    with redis_py.Redis.from_url(site.settings.redis) as client:
        return sum(1 for _ in client.scan_iter(match=Layout(site.settings.namespace, generation).prefix + "*"))


async def made(site: Site, messages: Sequence[Message]) -> list[Place]:
    """Have a worker make the tables of messages, and end it."""
    await site.make_topics()
    places = await site.publish(messages)
    with site.worker() as worker:
        await site.caught_up(worker)
        worker.signal(signal.SIGTERM)
        await worker.ended()
    return places


def before(offsets: Mapping[str, int], published: Sequence[tuple[Message, Place]]) -> list[Message]:
    """Give the messages that lie before some offsets."""
    return [
        message for message, place in published if place.offset < offsets.get(f"{message.topic}:{place.partition}", 0)
    ]


async def test_no_reader_sees_a_mixture_and_nothing_is_lost(site: Site, namespace: str) -> None:
    """With another time zone, while events come in and a worker goes on, every snapshot is one generation's exact tables.

    Afterwards they are what a worker makes from scratch, and a worker with the new settings goes on with them.
    """
    first, later = simulated(3, 3000), simulated(4, 900)
    published = list(zip(first, await made(site, first), strict=True))
    seen: list[Snapshot] = []
    done = asyncio.Event()

    async def publish() -> None:
        for start in range(0, len(later), 30):
            some = later[start : start + 30]
            published.extend(zip(some, await site.publish(some), strict=True))
            await asyncio.sleep(0.05)

    async def look() -> None:
        async with opened(site) as tables:
            while not done.is_set():
                snapshot = await tables.snapshot(None)
                assert snapshot is not None
                if not seen or (seen[-1].generation, seen[-1].offsets) != (snapshot.generation, snapshot.offsets):
                    seen.append(snapshot)
                await asyncio.sleep(0.01)

    with site.worker() as old:
        await old.says(": reading ")
        looking, publishing = asyncio.create_task(look()), asyncio.create_task(publish())
        answer = await Command(site, "rebuild", "--yes", "--json", **TOKYO).answer()
        assert answer["swapped"]
        assert answer["shown"] == "2"
        with site.worker(**TOKYO) as new:
            await publishing
            await site.caught_up(new)
            done.set()
            await looking
            everything = [message for message, _ in published]
            assert await cells_of(site) == expected(everything, BY_TOKYO)

            async def old_is_up_to_date() -> bool:
                async with opened(site) as tables:
                    there = await tables.generations.get("1")
                return dict(there.offsets) == await site.ends()

            await eventually("the worker of the old settings goes on with its tables", old_is_up_to_date)
            assert await cells_of(site, "1") == expected(everything)
            assert old.status is None
    assert {snapshot.generation for snapshot in seen} == {"1", "2"}
    swaps = [left.generation + right.generation for left, right in itertools.pairwise(seen)]
    assert swaps.count("12") == 1
    assert "21" not in swaps, "nobody sees the old ones again"
    for snapshot in random.Random(1).sample(seen, min(len(seen), 25)) + [s for s in seen if s.generation == "2"][:2]:
        definitions = BY_TOKYO if snapshot.generation == "2" else Definitions()
        assert cells_in(snapshot) == expected(before(snapshot.offsets, published), definitions)
    audit = await Command(site, "audit", "--from-log", **TOKYO).done()
    assert "everything agrees" in audit
    scratch = Site(site.settings.kafka, site.settings.redis, namespace, **TOKYO, SALESFX_NAMESPACE=namespace + "-2")
    with scratch.worker() as worker:
        await scratch.caught_up(worker)
    assert await cells_of(scratch) == await cells_of(site)


async def test_it_says_what_differs_and_which_setting_did_it(site: Site) -> None:
    """Three settings are changed: the tables in between are those made under them, and the steps add up to the difference."""
    messages = simulated(5, 1500)
    await made(site, messages)
    changed = {**TOKYO, "SALESFX_RECIPIENT_LIMIT": "1", "SALESFX_SALES_CYCLE_DAYS": "75"}
    answer = await Command(site, "rebuild", "--yes", "--json", **changed).answer()
    report = answer["report"]
    assert report["steps"] == ["timezone", "recipient_limit", "sales_cycle_days"]
    assert any("recipient_limit: the tables were made with 10, now it is 1" in each for each in report["changed"])
    one_by_one = [
        Definitions(),
        BY_TOKYO,
        Definitions(timezone="Asia/Tokyo", recipient_limit=1),
        Definitions(timezone="Asia/Tokyo", recipient_limit=1, sales_cycle_days=75),
    ]
    totals = [counts(expected(messages, each)) for each in one_by_one]
    assert await cells_of(site) == expected(messages, one_by_one[-1])
    told = {(each["month"], each["metric"]): each["total"] for each in report["differences"]}
    seen: set[str] = set()
    for at in set().union(*totals):
        values = [each.get(at, 0) for each in totals]
        steps = {
            name: right - left
            for name, left, right in zip(report["steps"], values, values[1:], strict=False)
            if right != left
        }
        seen |= steps.keys()
        total = told.get(at, {"live": values[0], "new": values[-1], "by": {}})
        number = {name: hundredths(value) for name, value in total["by"].items()}
        assert number == steps, at
        assert (hundredths(total["live"]), hundredths(total["new"])) == (values[0], values[-1])
    assert seen == set(report["steps"]), "each of them did something"


def counts(cells: Cells) -> dict[tuple[str, str], int]:
    """Add cells up by month and metric, over sources or categories."""
    found: dict[tuple[str, str], int] = {}
    for (when, field), number in cells.items():
        metric, _, dimension = field.partition("|")
        if len(when) == 10 and "salesperson=" not in dimension:
            found[when[:7], metric] = found.get((when[:7], metric), 0) + number
    return found


def hundredths(shown: int | str) -> int:
    """Read a number of the report: money is a decimal string."""
    return shown if isinstance(shown, int) else round(float(shown) * 100)


async def test_a_worker_with_a_changed_time_zone_says_what_to_do(site: Site) -> None:
    """It touches nothing, and names what changed and the command that is the way on; doctor says the same."""
    await made(site, simulated(1, 50))
    untouched = digest(site, "1")
    with site.worker(**TOKYO) as worker:
        assert await worker.ended() == 2
        assert 'timezone: the tables were made with "Europe/Sofia", now it is "Asia/Tokyo"' in worker.sentence
        assert "`salesfx rebuild`" in worker.sentence
    assert "`salesfx rebuild`" in await Command(site, "doctor", **TOKYO).done(1)
    assert digest(site, "1") == untouched


async def test_killed_at_any_moment_it_goes_on_and_comes_out_exact(site: Site) -> None:
    """Ten times: the live tables stay the same to the byte, what is half made is never shown, and the end is exact."""
    messages = simulated(7, 6000)
    await made(site, messages)
    untouched, chance, reached = digest(site, "1"), random.Random(20261125), []
    for _ in range(10):
        command = Command(site, "rebuild", "--json", **TOKYO)
        wanted = chance.random() * 6000

        async def is_there(command: Command = command, wanted: float = wanted) -> bool:
            return command.process.poll() is not None or await done_of(site, "2") >= wanted

        await eventually("it is at the moment at which it is killed", is_there)
        await asyncio.sleep(chance.random() * 0.3)
        command.kill()
        reached.append(await done_of(site, "2"))
        assert digest(site, "1") == untouched
        snapshot = await site.snapshot()
        assert snapshot is not None
        assert snapshot.generation == "1"
    assert reached == sorted(reached), "nothing of what was made is made again"
    answer = await Command(site, "rebuild", "--yes", "--json", **TOKYO).answer()
    assert answer["shown"] == "2"
    assert await cells_of(site) == expected(messages, BY_TOKYO)
    assert digest(site, "1") == untouched
    assert "everything agrees" in await Command(site, "audit", "--from-log", **TOKYO).done()


async def done_of(site: Site, generation: str) -> int:
    """Tell how many events are in a generation."""
    with redis_py.Redis.from_url(site.settings.redis) as client:
        offsets: Any = client.hvals(Layout(site.settings.namespace, generation).offsets)
    return sum(map(int, offsets))


async def test_one_left_half_made_under_other_settings_is_cleaned_up(site: Site) -> None:
    """The next rebuild, for yet other settings, drops it, and its number is not used again."""
    messages = simulated(8, 800)
    await made(site, messages)
    async with opened(site) as tables:
        assert await tables.generations.begin(BY_TOKYO, "1") == "2"
    said = await Command(site, "rebuild", "--yes", SALESFX_TIMEZONE="America/New_York").done()
    assert "dropping generation 2" in said
    assert "generation 3 is shown now" in said
    assert keys_of(site, "2") == 0
    assert await cells_of(site) == expected(messages, Definitions(timezone="America/New_York"))


async def test_going_back_and_dropping(site: Site) -> None:
    """The former tables are shown again as they were, and those that are dropped leave nothing but their number."""
    messages = simulated(9, 400)
    await made(site, messages)
    assert "nothing was swapped" in await Command(site, "rebuild", **TOKYO).done(2)
    assert await cells_of(site) == expected(messages)
    assert "generation 2 is shown now" in await Command(site, "generations", "show", "2", **TOKYO).done()
    assert await cells_of(site) == expected(messages, BY_TOKYO)
    listed = await Command(site, "generations", "--json", **TOKYO).answer()
    assert [(each["number"], each["shown"], each["state"], each["lag"]) for each in listed] == [
        ("1", False, "complete", 0),
        ("2", True, "complete", 0),
    ]
    assert ["Europe/Sofia" in sentence for sentence in listed[0]["differs"]] == [True]
    assert listed[1]["differs"] == []
    assert listed[0]["keys"] == keys_of(site, "1")
    assert listed[0]["bytes"] > 10_000
    told = await Command(site, "doctor", **TOKYO).done()
    assert "generations: 2 is shown; 1 is kept beside it (`salesfx generations drop 1` deletes it)" in told
    refused = await Command(site, "generations", "drop", "2", "--yes").done(2)
    assert "it cannot be dropped" in refused
    assert "generation 1 is shown now" in await Command(site, "generations", "show", "1").done()
    assert await cells_of(site) == expected(messages)
    assert "generation 2 is deleted" in await Command(site, "generations", "drop", "2", "--yes").done()
    assert keys_of(site, "2") == 0
    assert "there is no generation 2" in await Command(site, "generations", "show", "2").done(2)
    assert "there is no generation 2" in await Command(site, "generations", "drop", "2", "--yes").done(2)
    answer = await Command(site, "rebuild", "--yes", "--json", **TOKYO).answer()
    assert answer["shown"] == "3"


async def test_what_cannot_be_done_is_refused_with_a_sentence(site: Site) -> None:
    """Showing what is half made; dropping what a rebuild is at work on; two rebuilds at once."""
    messages = simulated(10, 300)
    await made(site, messages)
    async with opened(site) as tables:
        generations = tables.generations
        number = await generations.begin(BY_TOKYO, "1")
        assert "only half made" in await Command(site, "generations", "show", number).done(2)
        await generations.take_lease(number, "somebody")
        stop = asyncio.Event()

        async def at_work() -> None:
            while not stop.is_set():
                await generations.renew_lease(number, "somebody")
                await asyncio.sleep(0.5)

        working = asyncio.create_task(at_work())
        assert "is making generation 2" in await Command(site, "rebuild", "--yes", **TOKYO).done(1)
        assert "is making generation 2" in await Command(site, "generations", "drop", number, "--yes").done(1)
        assert await cells_of(site) == expected(messages)
        stop.set()
        await working
        # Whoever was at work has died: the next one waits until that is sure, and goes on.
        assert "going on with generation 2" in await Command(site, "rebuild", "--yes", **TOKYO).done()
        assert await cells_of(site) == expected(messages, BY_TOKYO)
        await generations.show("1")
        with pytest.raises(Exception, match="generation 1 is shown by now, not 2"):
            await generations.show(number, instead_of="2")
    assert "nothing to do" in await Command(site, "rebuild", "--yes").done()


async def test_damaged_tables_are_made_anew_under_the_same_settings(site: Site) -> None:
    """`--anyway` makes another generation, and tells as the rest what the damage had done."""
    messages = simulated(11, 300)
    await made(site, messages)
    month = max(when[:7] for (when, field) in expected(messages) if field.startswith("leads|"))
    with redis_py.Redis.from_url(site.settings.redis) as client:
        client.hincrby(Layout(site.settings.namespace, "1").table(f"month:{month}"), "leads|source=web", 5)
    assert "nothing to do" in await Command(site, "rebuild", "--yes").done()
    answer = await Command(site, "rebuild", "--yes", "--anyway", "--json").answer()
    [found] = answer["report"]["differences"]
    assert (found["month"], found["metric"], found["total"]["by"]) == (month, "leads", {"rest": -5})
    assert "everything agrees" in await Command(site, "audit").done()


async def test_anyway_goes_on_with_what_it_has_made(site: Site) -> None:
    """Complete, and not shown yet: the command that the message names compares it again, and makes no other."""
    messages = simulated(21, 100)
    await made(site, messages)
    said = await Command(site, "rebuild", "--anyway").done(2)
    assert "`salesfx rebuild --anyway --yes` brings it up to date" in said
    said = await Command(site, "rebuild", "--anyway", "--yes").done()
    assert "generation 2 is there" in said
    assert "generation 2 is shown now, instead of 1" in said
    assert await cells_of(site) == expected(messages)
    # What was shown by then may be damaged, and the one before: neither is offered.
    assert "making generation 3 beside generation 2" in await Command(site, "rebuild", "--anyway", "--yes").done()


async def test_cells_that_are_no_numbers_are_left_out_and_named(site: Site) -> None:
    """They would otherwise keep the one command from its end that mends them; without --anyway it is named."""
    messages = simulated(22, 100)
    await made(site, messages)
    month = max(when[:7] for (when, field) in expected(messages) if field.startswith("leads|"))
    with redis_py.Redis.from_url(site.settings.redis) as client:
        client.hset(Layout(site.settings.namespace, "1").table(f"month:{month}"), "leads|source=web", "many")
    assert "`salesfx rebuild --anyway`" in await Command(site, "rebuild", "--yes", **TOKYO).done(2)
    said = await Command(site, "rebuild", "--anyway", "--yes").done()
    assert f"not compared, since it is no number in generation 1: month:{month} leads|source=web: 'many'" in said
    assert "generation 3 is shown now, instead of 1" in said
    assert await cells_of(site) == expected(messages)


async def test_going_back_takes_the_newest_that_fits(site: Site) -> None:
    """What was kept from before may be what `--anyway` was for."""
    await site.make_topics()
    async with opened(site) as tables:
        await tables.open(Definitions())
        for number, definitions in enumerate((Definitions(), BY_TOKYO), 2):
            assert await tables.generations.begin(definitions, str(number - 1)) == str(number)
            await tables.generations.complete(str(number))
            await tables.generations.show(str(number))
    assert "generation 2 is shown now, instead of 3" in await Command(site, "rebuild", "--yes").done()


async def test_a_generation_that_lacks_what_a_rate_made_usable_is_made_anew(site: Site, tmp_path: Path) -> None:
    """A rate was added to it in its place, so it lacks what was refused before; one that always lacked it is no worse."""
    fields = {"event_id": "e", "occurred_at": "2026-10-05T10:00:00Z", "quote_id": "Q", "currency": "USD", "amount": "1"}
    await made(site, [Message("quote_sent", msgspec.json.encode(fields))])
    assert "nothing was swapped" in await Command(site, "rebuild", **TOKYO).done(2)
    said = await Command(site, "rebuild", "--yes", **TOKYO).done()
    assert "generation 2 is there" in said, "it was begun under these settings, without the rate"
    with_rate = tmp_path / "salesfx.toml"
    with_rate.write_text('[[rates]]\ncurrency = "USD"\nsince = 2026-01-01\nper_euro = "1.1"\n', encoding="utf-8")
    async with connect(site.settings.redis) as client:
        old = RedisTables(client, site.settings.namespace, "1")
        await old.open(load_settings(with_rate, site.environ).definitions)
        snapshot = await old.snapshot((), "1")
    assert snapshot is not None
    assert snapshot.counters["rejected|quote_sent|no_rate"] == 1
    said = await Command(site, "--config", str(with_rate), "rebuild", "--yes").done()
    assert "making generation 3 beside generation 2" in said
    async with opened(site) as tables:
        snapshot = await tables.snapshot()
    assert snapshot is not None
    assert "rejected|quote_sent|no_rate" not in snapshot.counters


async def test_without_room_for_another_nothing_is_begun(own_site: Site) -> None:
    """A full Redis refuses the worker and the readers, so it is looked before."""
    await made(own_site, simulated(23, 300))
    async with limited(own_site, lambda used: (used + 50_000) / 0.97):
        said = await Command(own_site, "rebuild", "--yes", **TOKYO).done(2)
        assert "Redis has no room for another generation: generation 1 takes about" in said
    async with opened(own_site) as tables:
        assert [each.number for each in await tables.generations.all()] == ["1"]


async def test_before_redis_is_full_it_stops(own_site: Site) -> None:
    """It leaves the rest to the tables that are shown; what it has made is gone on with once there is room."""
    messages = simulated(24, 300)
    await made(own_site, messages)
    async with opened(own_site) as tables:
        await tables.generations.begin(BY_TOKYO, "1")
    async with limited(own_site, lambda used: used / 0.98):
        assert "Redis is nearly full" in await Command(own_site, "rebuild", "--yes", **TOKYO).done(2)
        with own_site.worker() as worker:
            await worker.says(": reading ")
            more = simulated(25, 30)
            await own_site.publish(more)
            await own_site.caught_up(worker)
    assert await done_of(own_site, "2") == 0
    said = await Command(own_site, "rebuild", "--yes", **TOKYO).done()
    assert "going on with generation 2" in said
    assert await cells_of(own_site) == expected([*messages, *more], BY_TOKYO)


@asynccontextmanager
async def limited(site: Site, limit: Callable[[int], float]) -> AsyncIterator[None]:
    """Set a `maxmemory` by what is in use, tens of megabytes of it by others."""
    async with connect(site.settings.redis) as client:
        await client.setrange("of others", 60_000_000, b"x")
        try:
            await client.config_set("maxmemory", round(limit((await client.info("memory"))["used_memory"])))
            yield
        finally:
            await client.config_set("maxmemory", "0")
            await client.delete("of others")


async def test_a_reader_that_goes_away_is_not_redis(site: Site) -> None:
    """Like `salesfx rebuild | head`."""
    async with opened(site) as tables:
        await tables.open(Definitions())
    ours, theirs = os.pipe()
    os.close(ours)
    process = started(site, ["rebuild"], {}, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    _, errors = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
    assert (process.returncode, errors) == (1, "")


async def test_what_was_refused_before_gets_no_second_letter(site: Site) -> None:
    """A rebuild sends letters only of events that are refused for another reason than before, or were not."""
    dollars = {"SALESFX_RECIPIENT_LIMIT": "5"}
    fields = {
        "event_id": "e",
        "occurred_at": "2026-10-05T10:00:00Z",
        "quote_id": "Q",
        "currency": "USD",
        "amount": "10",
    }
    messages = [
        Message("lead_created", b"no event"),
        Message("quote_sent", msgspec.json.encode(fields)),
        *simulated(12, 100),
    ]
    await made(site, messages)
    letters = await site.dead_letters()
    assert len(letters) == 2
    await Command(site, "rebuild", "--yes", **dollars).done()
    assert len(await site.dead_letters()) == 2
    async with opened(site) as tables:
        snapshot = await tables.snapshot()
    assert snapshot is not None
    assert sum(n for name, n in snapshot.counters.items() if name.startswith("rejected|")) == 2


async def test_it_asks_and_keeps_up_meanwhile(site: Site) -> None:
    """On a terminal: what comes while it waits for the answer is in the new tables when they are shown; no keeps them too."""
    messages = simulated(19, 300)
    await made(site, messages)
    with site.worker() as old:
        await old.says(": reading ")
        refusing = Asked(site, **TOKYO)
        await refusing.says("[y/N]")
        refusing.answer("n\n")
        assert "nothing was swapped. Generation 2 is kept" in await refusing.ended()
        assert await cells_of(site) == expected(messages)
        asked = Asked(site, **TOKYO)
        await asked.says("[y/N]")
        more = simulated(20, 60)
        await site.publish(more)
        await site.caught_up(old)

        async def has_followed() -> bool:
            return await done_of(site, "2") == sum((await site.ends()).values())

        await eventually("the new tables have what came meanwhile", has_followed)
        asked.answer("y\n")
        assert "generation 2 is shown now, instead of 1" in await asked.ended()
    assert await cells_of(site) == expected([*messages, *more], BY_TOKYO)


class Asked:
    """`salesfx rebuild`, or another command, on a terminal."""

    def __init__(self, site: Site, *words: str, **environ: str) -> None:
        ours, theirs = pty.openpty()
        self._terminal, self._said = ours, b""
        os.set_blocking(ours, False)
        self._process = started(site, words or ["rebuild"], environ, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)

    def _read(self) -> str:
        with contextlib.suppress(OSError):  # there is nothing, or nobody any more
            while part := os.read(self._terminal, 65536):
                self._said += part
        return self._said.decode(errors="replace")

    async def says(self, words: str) -> None:
        """Wait until it has printed these words."""

        async def said() -> bool:
            is_over = self._process.poll() is not None
            assert words in self._read() or not is_over, self._said
            return words in self._read()

        await eventually(f"it says {words}", said)

    def answer(self, line: str) -> None:
        """Type a line."""
        os.write(self._terminal, line.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    async def ended(self, status: int = 0) -> str:
        """Wait for its end, which must be with this status; give all that it has printed."""

        async def has_ended() -> bool:
            self._read()
            return self._process.poll() is not None

        await eventually("it ends", has_ended)
        said = self._read()
        os.close(self._terminal)
        assert self._process.returncode == status, said
        return said


async def test_it_follows_until_a_worker_takes_over(site: Site) -> None:
    """With --follow the new tables get what comes after the swap; it ends by itself when a worker has them."""
    messages = simulated(13, 300)
    await made(site, messages)
    command = Command(site, "rebuild", "--yes", "--follow", **TOKYO)

    async def is_swapped() -> bool:
        snapshot = await site.snapshot()
        return snapshot is not None and snapshot.generation == "2"

    await eventually("the new tables are shown", is_swapped)
    more = simulated(14, 60)
    await site.publish(more)
    await site.caught_up()
    assert await cells_of(site) == expected([*messages, *more], BY_TOKYO)
    with site.worker(**TOKYO) as worker:
        await worker.says(": reading ")
        last = simulated(15, 60)
        await site.publish(last)
        await site.caught_up(worker)
        assert "a worker has taken over" in await command.done()
    assert await cells_of(site) == expected([*messages, *more, *last], BY_TOKYO)


async def test_a_worker_whose_generation_is_dropped_ends(site: Site) -> None:
    """It says so, and leaves no key behind."""
    await made(site, simulated(16, 100))
    with site.worker() as old:
        await old.says(": reading ")
        await Command(site, "rebuild", "--yes", **TOKYO).done()
        await Command(site, "generations", "drop", "1", "--yes", **TOKYO).done()
        await site.publish(simulated(17, 50))
        assert await old.ended() == 1
        assert "generation 1 of the tables" in old.sentence
        assert "was dropped" in old.sentence
    assert keys_of(site, "1") == 0


async def test_an_interrupted_drop_can_be_done_again(site: Site) -> None:
    """What is half deleted is listed, cannot be shown, and is deleted by the next drop."""
    await made(site, simulated(18, 100))
    await Command(site, "rebuild", "--yes", **TOKYO).done()
    async with opened(site) as tables:

        def interrupted(_keys: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            await tables.generations.drop("1", interrupted)
        await tables.log_identity({})
        [old, _] = await tables.generations.all()
        assert old.state is State.DROPPING
    assert "there is no generation 1" in await Command(site, "generations", "show", "1").done(2)
    assert "generation 1 is deleted" in await Command(site, "generations", "drop", "1", "--yes").done()
    assert keys_of(site, "1") == 0
