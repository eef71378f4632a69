"""`salesfx forget` as a process, beside a real worker, a real Kafka and a real Valkey."""

import asyncio
import json
import socket
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from salesfx.definitions import Definitions
from salesfx.forgotten import Forgotten, Kind
from salesfx.forgotten_file import pending, read_forgotten, write_forgotten
from salesfx.local.file_lock import FileLock
from salesfx.rebuilding.refused_then import usable_by_now
from salesfx.rebuilding.renaming import unequal
from salesfx.settings import load_settings
from salesfx.tables.layout import FIRST_GENERATION, Layout
from tests.integration.test_rebuild import Asked, Command, cells_of, keys_of, made, opened
from tests.worker_process import Message, Site, eventually, expected

NAME, LEAD, ACCOUNT = "Zlatka Ünlü", "L-zlatka-7", "A-zlatka-9"
SECRETS = (NAME, LEAD, ACCOUNT)
MONTH = "2026-10"


def event(topic: str, number: int, **fields: Any) -> Message:
    """Make an event of October 2026."""
    content = {"event_id": f"e{number}", "occurred_at": f"2026-10-{1 + number % 28:02}T10:00:00Z", **fields}
    return Message(topic, json.dumps(content).encode())


def quote(number: int, **fields: Any) -> Message:
    """Make a quote that qualifies."""
    needed = {"amount": "100.50", "currency": "EUR", "need": "a wheelchair for Zlatka"}
    return event("quote_sent", number, **{"quote_id": f"Q{number}", **needed, **fields})


def won(number: int, **fields: Any) -> Message:
    """Make a won deal."""
    money = {"outcome": "won", "amount": "90", "currency": "EUR"}
    return event("deal_closed", number, **{"deal_id": f"D{number}", **money, **fields})


def named() -> list[Message]:
    """Events of which many name the person, the lead and the account."""
    messages = [
        event("lead_created", 1, lead_id=LEAD, source="web", salesperson=NAME, account_id=ACCOUNT),
        quote(2, lead_id=LEAD),
        quote(3, lead_id=LEAD, salesperson="petar", account_id=ACCOUNT),
        won(20, lead_id=LEAD, salesperson=NAME),
        won(21, account_id=ACCOUNT, salesperson=NAME),
    ]
    for number in range(4, 16):
        own = {"salesperson": NAME if number % 3 else "petar"}
        messages += [
            event("lead_created", number, lead_id=f"L{number}", source="fair", **own),
            quote(number + 100, lead_id=f"L{number}", need="crm", **own),
        ]
    return messages


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the list of what is withdrawn is kept."""
    return tmp_path / "forgotten.json"


@pytest.fixture
def site(kafka: str, redis_url: str, namespace: str, path: Path) -> Site:
    """Names that no other test uses."""
    return Site(kafka, redis_url, namespace, SALESFX_FORGOTTEN_FILE=str(path))


def withdrawn(path: Path) -> Definitions:
    """Give the definitions with the list as it is now."""
    forgotten = read_forgotten(path)
    assert forgotten is not None
    return Definitions(forgotten=forgotten)


def content_of(path: Path) -> bytes | None:
    """Read a file; None where there is none."""
    return path.read_bytes() if path.exists() else None


def mode_of(path: Path) -> int:
    """Tell who may read a file."""
    return path.stat().st_mode & 0o777


def everything_in(site: Site) -> str:
    """Give all keys and values of the namespace, readable."""
    told: list[Any] = []
    with redis_py.Redis.from_url(site.settings.redis) as redis:
        client: Any = redis
        for key in client.scan_iter(match=f"{{{site.settings.namespace}}}*"):
            kind = client.type(key)
            read = {
                b"hash": client.hgetall,
                b"set": client.smembers,
                b"string": client.get,
                b"list": lambda key: client.lrange(key, 0, -1),
            }[kind]
            told += [key, read(key)]
    flat = repr(told).encode().decode("unicode_escape").encode("latin-1")
    return flat.decode("utf-8", errors="replace")


def named_in(text: str) -> list[str]:
    """Give what of the person can be found in a text, as it is or escaped."""
    spellings = [*SECRETS, *(json.dumps(each)[1:-1] for each in SECRETS), "Zlatka", "zlatka"]
    return [each for each in spellings if each in text]


class Backup:
    """All keys of the namespace as they are now."""

    def __init__(self, site: Site) -> None:
        self._url, self._pattern = site.settings.redis, f"{{{site.settings.namespace}}}*"
        with redis_py.Redis.from_url(self._url) as redis:
            self._keys = {key: redis.dump(key) for key in redis.scan_iter(match=self._pattern)}

    def put_back(self) -> None:
        """Have Redis hold these keys, and no other of the namespace."""
        with redis_py.Redis.from_url(self._url) as redis:
            redis.delete(*redis.scan_iter(match=self._pattern))
            for key, content in self._keys.items():
                redis.restore(key, 0, content)


async def ended_with(site: Site, status: int) -> str:
    """Start a worker, which must end by itself; give its last words."""
    with site.worker() as worker:
        assert await worker.ended() == status
        return worker.sentence


async def forget_all(site: Site) -> list[Any]:
    """Withdraw the person, the lead and the account."""
    answers = []
    for kind, value in (("salesperson", NAME), ("lead", LEAD), ("account", ACCOUNT)):
        answers.append(await Command(site, "forget", kind, value, "--yes", "--json").answer())
    return answers


async def metrics_of(site: Site) -> str:
    """Start a server, and ask it for its metrics."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Command(site, "serve", SALESFX_HTTP_PORT=str(port))

    def ask() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    async def answers() -> bool:
        assert server.process.poll() is None
        try:
            return bool(await asyncio.to_thread(ask))
        except OSError:
            return False

    try:
        await eventually("the server answers", answers)
        return await asyncio.to_thread(ask)
    finally:
        server.kill()


async def test_no_byte_of_a_name_is_left_and_no_number_changes(site: Site, path: Path) -> None:
    """In all of Redis, in everything that is shown, and in looking back; audits agree; the old generations are gone."""
    messages = named()
    await made(site, messages)
    assert named_in(everything_in(site)), "the test can fail"
    before = await cells_of(site)
    answers = await forget_all(site)
    assert [answer["forgotten"][0] | {"token": ""} for answer in answers] == [
        {"token": "", "leads": 9, "quotes": 8, "deals": 2},
        {"token": "", "leads": 1, "quotes": 2, "deals": 1},
        {"token": "", "leads": 1, "quotes": 1, "deals": 1},
    ]
    assert [(answer["generation"], answer["dropped"]) for answer in answers] == [
        ("2", ["1"]),
        ("3", ["2"]),
        ("4", ["3"]),
    ]
    assert [answer["traces"] for answer in answers] == [[], [], []]
    after = await cells_of(site)
    assert after == expected(messages, withdrawn(path))
    assert unequal(before, after, {NAME: answers[0]["forgotten"][0]["token"]}) == []
    assert named_in(everything_in(site)) == []
    assert keys_of(site, "1") == keys_of(site, "2") == keys_of(site, "3") == 0
    now = datetime.now(UTC).isoformat()
    shown = [
        await Command(site, *words).done()
        for words in (
            ("kpi", "--month", MONTH),
            ("kpi", "--month", MONTH, "--json"),
            ("kpi", "--month", MONTH, "--known-at", now, "--json"),
            ("restated", MONTH, "--since", "2020-01-01T00:00:00Z"),
            ("explain", MONTH, "leads"),
            ("show", "quote", "Q2"),
            ("config",),
            ("report", "--month", MONTH),
        )
    ]
    shown.append(await metrics_of(site))
    assert [named_in(each) for each in shown] == [[]] * len(shown)
    token = answers[0]["forgotten"][0]["token"]
    assert all(token in shown[place] for place in (1, 2))
    assert "everything agrees" in await Command(site, "audit").done()
    assert "everything agrees" in await Command(site, "audit", "--from-log").done()
    assert mode_of(path) == 0o600
    assert content_of(pending(path)) is None


async def test_what_comes_later_counts_under_the_token(site: Site, path: Path) -> None:
    """An old event delivered again, a correction, a retraction and a new deal: a worker with the list takes them so."""
    messages = named()
    await made(site, messages)
    await forget_all(site)
    later = [
        messages[0],
        event("lead_created", 1, lead_id=LEAD, source="fair", salesperson=NAME, account_id=ACCOUNT, revision=2),
        won(22, lead_id=LEAD, account_id=ACCOUNT, salesperson=NAME, amount="1000"),
        quote(2, lead_id=LEAD, retracted=True, revision=1),
    ]
    with site.worker() as worker:
        await site.publish(later)
        await site.caught_up(worker)
    after = await cells_of(site)
    assert after == expected([*messages, *later], withdrawn(path))
    assert after != expected(messages, withdrawn(path)), "they moved numbers"
    assert named_in(everything_in(site)) == []
    assert "everything agrees" in await Command(site, "audit", "--from-log").done()


async def test_workers_without_the_list_refuse_and_write_no_name_back(site: Site, path: Path) -> None:
    """One that runs ends at the withdrawal; one with an older list, and a rebuild and a withdrawal with one, are refused."""
    messages = named()
    await made(site, messages)
    older = path.with_name("older.json")
    await Command(site, "forget", "lead", LEAD, "--yes").done()
    forgotten = read_forgotten(path)
    assert forgotten is not None
    write_forgotten(older, forgotten)
    with site.worker() as running:
        await running.says(": reading ")
        await Command(site, "forget", "salesperson", NAME, "--yes").done()
        await Command(site, "forget", "account", ACCOUNT, "--yes").done()
        await site.publish([won(30, salesperson=NAME, account_id=ACCOUNT)])
        assert await running.ended() == 1, "one that is started again looks for the new list"
        assert "was dropped" in running.sentence
    assert named_in(everything_in(site)) == []
    old = {"SALESFX_FORGOTTEN_FILE": str(older)}
    none = {"SALESFX_FORGOTTEN_FILE": str(path.with_name("none.json"))}
    for environ in (old, none):
        with site.worker(**environ) as worker:
            assert await worker.ended() == 2
            assert "What is withdrawn stays withdrawn" in worker.sentence
        assert "What is withdrawn stays withdrawn" in await Command(site, "rebuild", "--yes", **environ).done(2)
        assert "What is withdrawn stays withdrawn" in await Command(
            site, "forget", "lead", "L5", "--yes", **environ
        ).done(2)
    assert named_in(everything_in(site)) == []
    with site.worker() as worker:
        await site.caught_up(worker)
    assert named_in(everything_in(site)) == []


async def test_what_cannot_be_withdrawn_is_refused_and_changes_nothing(site: Site, path: Path) -> None:
    """A misspelt name, with what is like it; a token; nobody; other settings that changed; no file; nobody to ask."""
    messages = named()
    await made(site, messages)
    before = everything_in(site)
    said = await Command(site, "forget", "salesperson", "PETAR", "--yes").done(2)
    assert "nothing in the tables names the salesperson 'PETAR'" in said
    assert "There is: 'petar'" in said
    assert "is nobody's name" in await Command(site, "forget", "salesperson", "unassigned", "--yes").done(2)
    assert "a token itself" in await Command(site, "forget", "lead", "forgotten-00", "--yes").done(2)
    assert "--yes was not given" in await Command(site, "forget", "lead", LEAD).done(2)
    zone = {"SALESFX_TIMEZONE": "UTC"}
    assert "other settings have changed" in await Command(site, "forget", "lead", LEAD, "--yes", **zone).done(2)
    nowhere = {"SALESFX_FORGOTTEN_FILE": ""}
    assert "name no file" in await Command(site, "forget", "lead", LEAD, "--yes", **nowhere).done(2)
    assert everything_in(site) == before
    assert content_of(path) is None


async def test_what_still_holds_the_name_is_told(site: Site) -> None:
    """Ids of events and needs are not replaced where they only contain it: they are listed."""
    messages = [
        *named(),
        event("lead_created", 40, lead_id="L40", event_id=f"{LEAD}-created"),
        quote(41, lead_id="L40", need=f"as for {LEAD}"),
    ]
    await made(site, messages)
    answer = await Command(site, "forget", "lead", LEAD, "--yes", "--json").answer()
    assert sorted(map(tuple, answer["traces"])) == [
        ("lead:L40", f"{LEAD}-created"),
        ("lead:L40", f"as for {LEAD}"),
    ]


async def test_interrupted_it_goes_on_with_the_same_token(site: Site, path: Path) -> None:
    """Killed on the way, the tables that are shown are as they were; the same command again finishes it."""
    messages = named()
    await made(site, messages)
    before = await cells_of(site)
    command = Command(site, "forget", "salesperson", NAME, "--yes")

    async def is_begun() -> bool:
        return command.process.poll() is not None or keys_of(site, "2") > 0

    await eventually("it is at work", is_begun)
    command.kill()
    if content_of(path) is None:
        assert await cells_of(site) == before
    begun = read_forgotten(pending(path)) or read_forgotten(path)
    assert begun is not None
    answer = await Command(site, "forget", "salesperson", NAME, "--yes", "--json").answer()
    assert answer["generation"] == "2"
    assert answer["forgotten"][0]["token"] == begun.token_of(Kind.SALESPERSON, NAME)
    assert NAME not in everything_in(site)
    assert await cells_of(site) == expected(messages, withdrawn(path))
    assert "everything agrees" in await Command(site, "audit", "--from-log").done()


async def test_it_goes_on_after_a_swap_that_did_not_come(site: Site, path: Path) -> None:
    """Killed between the list and the swap: the next withdrawal finishes it, with the same token, whatever it is of.

    What was only begun and then given up is not withdrawn with the next one.
    """
    messages = named()
    await made(site, messages)
    begun = Forgotten().with_values(Kind.SALESPERSON, [NAME, "petar"])
    write_forgotten(pending(path), begun)
    await Command(site, "forget", "lead", LEAD, "--yes").done()
    written = read_forgotten(path)
    assert written is not None
    assert len(written.entries) == 1
    ahead = written.with_values(Kind.SALESPERSON, [NAME])
    write_forgotten(path, ahead)
    refused = await Command(site, "doctor").done(1)
    assert "`salesfx forget --again` withdraws it from them" in refused
    said = await Command(site, "forget", "account", ACCOUNT, "--yes").done()
    assert "made under all but 2 entries of the list" in said
    assert named_in(everything_in(site)) == []
    assert await cells_of(site) == expected(messages, withdrawn(path))
    answer = await Command(site, "forget", "salesperson", NAME, "--yes", "--json").answer()
    assert answer["forgotten"][0]["token"] == ahead.token_of(Kind.SALESPERSON, NAME)
    again = await Command(site, "forget", "salesperson", NAME, "--yes", "--json").answer()
    assert (again["generation"], again["dropped"], again["forgotten"][0]["leads"]) == (answer["generation"], [], 0)
    more = await Command(site, "forget", "salesperson", NAME, "petar", "--yes", "--json").answer()
    assert [each["leads"] > 0 for each in more["forgotten"]] == [False, True], "what is withdrawn already does no harm"


async def test_on_a_terminal_it_asks(site: Site, path: Path) -> None:
    """It tells what it has found before it asks, and does nothing but after a yes."""
    await made(site, named())
    asked = Asked(site, "forget", "salesperson", NAME)
    await asked.says("[y/N]")
    assert content_of(pending(path)) is None
    asked.answer("y\n")
    said = await asked.ended()
    assert "9 leads, 8 quotes, 2 deals" in said
    assert "No number has changed" in said
    assert "generation 2 is shown; deleted: 1." in said
    assert NAME not in everything_in(site)


async def test_a_tie_that_a_token_would_decide_otherwise_is_refused(site: Site, path: Path) -> None:
    """Two versions tie in all but their contents, and the token is before the other's account where the id was after it.

    No draw helps, since tokens begin alike: nothing is withdrawn, and it says why and what to do.
    """
    await made(site, named())
    tie = {"lead_id": "L91", "event_id": "same", "salesperson": "petar"}
    hard = [
        event("lead_created", 6, **tie, account_id="zz", source="web"),
        event("lead_created", 6, **tie, account_id="h", source="fair"),
    ]
    with site.worker() as worker:
        await site.publish(hard)
        await site.caught_up(worker)
    before, kept = await cells_of(site), content_of(path)
    refused = await Command(site, "forget", "account", "zz", "--yes").done(1)
    assert "nothing was withdrawn" in refused
    assert "publish it once more with a greater revision" in refused
    assert refused.count("drawing others") == 1, "where other tokens change the same cells, further ones would too"
    assert (await cells_of(site), content_of(path)) == (before, kept)
    assert content_of(pending(path)) is None


async def test_after_a_backup_was_put_back_one_command_withdraws_all_of_it_again(site: Site, path: Path) -> None:
    """It needs no name, nor how many withdrawals there were; workers and readers say which command it is."""
    messages = named()
    await made(site, messages)
    backup = Backup(site)
    for kind, value in (("salesperson", NAME), ("lead", LEAD), ("account", ACCOUNT)):
        await Command(site, "forget", kind, value, "--yes").done()
    kept = content_of(path)
    backup.put_back()
    assert named_in(everything_in(site)), "the test can fail"
    assert "`salesfx forget --again`" in await ended_with(site, 2)
    assert "`salesfx forget --again`" in await Command(site, "kpi", "--month", MONTH).done(2)
    answer = await Command(site, "forget", "--again", "--yes", "--json").answer()
    assert (answer["kind"], answer["forgotten"], answer["generation"], answer["dropped"]) == (None, [], "2", ["1"])
    assert named_in(everything_in(site)) == []
    assert content_of(path) == kept, "with the same tokens"
    assert await cells_of(site) == expected(messages, withdrawn(path))
    assert "everything agrees" in await Command(site, "audit", "--from-log").done()
    with site.worker() as worker:
        await site.caught_up(worker)
    again = await Command(site, "forget", "--again", "--yes").done()
    assert "generation 2 is shown." in again


async def test_after_a_rebuild_nothing_leads_back_to_the_names(site: Site, path: Path) -> None:
    """A rebuild under a longer list says how to delete the old generation, which is not shown again meanwhile."""
    await made(site, named())
    write_forgotten(path, Forgotten().with_values(Kind.SALESPERSON, [NAME]))
    said = await Command(site, "rebuild", "--yes").done()
    assert "Delete it: salesfx forget --again" in said
    assert "generations show 1" not in said
    older = {"SALESFX_FORGOTTEN_FILE": str(path.with_name("none.json"))}
    for environ in ({}, older):
        refused = await Command(site, "generations", "show", "1", **environ).done(2)
        assert "generation 1 names what is withdrawn since" in refused
    await Command(site, "forget", "--again", "--yes").done()
    assert NAME not in everything_in(site)


async def test_tables_are_deleted_beside_such_as_are_made_under_the_list_only(site: Site, path: Path) -> None:
    """Somebody shows the old ones while the question stands on the terminal: those without the name are kept."""
    await made(site, named())
    write_forgotten(path, Forgotten().with_values(Kind.SALESPERSON, [NAME]))
    await Command(site, "rebuild", "--yes").done()
    asked = Asked(site, "forget", "salesperson", NAME)
    await asked.says("[y/N]")
    async with opened(site) as tables:
        await tables.generations.show("1")
    there = keys_of(site, "2")
    asked.answer("y\n")
    said = await asked.ended(2)
    assert "generation 1 of the tables is shown by now, which is not made under the list" in said
    assert keys_of(site, "2") == there > 0


async def test_the_tables_under_the_list_that_are_ahead_are_to_be_shown(site: Site, path: Path) -> None:
    """A worker kept them up to date, and the old ones are shown again: no worker may make up for what these lack."""
    messages = named()
    await made(site, messages)
    write_forgotten(path, Forgotten().with_values(Kind.SALESPERSON, [NAME]))
    await Command(site, "rebuild", "--yes").done()
    more = [won(40, salesperson=NAME)]
    with site.worker() as worker:
        await site.publish(more)
        await site.caught_up(worker)
    async with opened(site) as tables:
        await tables.generations.show("1")
    refused = await Command(site, "forget", "--again", "--yes").done(2)
    assert "`salesfx generations show 2` shows it" in refused
    await Command(site, "generations", "show", "2").done()
    await Command(site, "forget", "--again", "--yes").done()
    assert NAME not in everything_in(site)
    assert await cells_of(site) == expected([*messages, *more], withdrawn(path))


async def test_two_at_once_do_not_write_over_each_other(site: Site, path: Path) -> None:
    """While one is at work on the list, another ends and has changed nothing."""
    await made(site, named())
    before = everything_in(site)
    lock = FileLock(path.with_name(".forgotten.json.lock"))
    assert lock.acquire(wait=False)
    try:
        refused = await Command(site, "forget", "lead", LEAD, "--yes").done(1)
    finally:
        lock.release()
    assert "another `salesfx forget` is at work" in refused
    assert (everything_in(site), content_of(path), content_of(pending(path))) == (before, None, None)
    await Command(site, "forget", "lead", LEAD, "--yes").done()


async def test_ctrl_c_at_the_question_ends_it_at_once(site: Site, path: Path) -> None:
    """And it does not say that anything was begun."""
    await made(site, named())
    asked = Asked(site, "forget", "salesperson", NAME)
    await asked.says("[y/N]")
    asked.interrupt()
    said = await asked.ended(1)
    assert "stopped. Nothing was begun." in said
    assert "goes on with it" not in said
    assert content_of(pending(path)) is None


async def test_other_rules_and_a_damaged_record_are_told(site: Site, path: Path) -> None:
    """Tables of another edition of salesfx or of the time zones, and a record that cannot be read: nothing is begun."""
    await made(site, named())
    layout = Layout(site.settings.namespace, FIRST_GENERATION)
    with redis_py.Redis.from_url(site.settings.redis) as redis:
        client: Any = redis
        definitions = client.hget(layout.meta, "definitions")
        for name, other in (("timezone_rules", "0" * 16), ("rules_version", 0)):
            changed = json.dumps({**json.loads(definitions), name: other})
            client.hset(layout.meta, "definitions", changed)
            assert "other settings have changed" in await Command(site, "forget", "lead", LEAD, "--yes").done(2)
        client.hset(layout.meta, "definitions", definitions)
        client.set(layout.record("lead:L5"), bytes(8) + b"\xc1")
    refused = await Command(site, "forget", "lead", LEAD, "--yes").done(2)
    assert "there is a record in Redis that salesfx cannot have written" in refused
    assert content_of(path) is content_of(pending(path)) is None


async def test_events_that_have_a_rate_by_now_are_to_be_put_in_before(site: Site, tmp_path: Path) -> None:
    """They would change totals: it says so before it begins, and works once they are in, by a replay or by a rebuild.

    A rebuild leaves their letters as they are: that they are in is told by the counters of its tables.
    """
    messages = [*named(), won(50, lead_id="L4", salesperson=NAME, currency="USD"), won(51, currency="GBP")]
    await made(site, messages)
    config = tmp_path / "rates.toml"
    config.write_text('[[rates]]\ncurrency = "USD"\nsince = 2026-01-01\nper_euro = "1.25"\n')
    rates = {"SALESFX_CONFIG": str(config)}
    settings = load_settings(environ={**site.environ, **rates})
    async with opened(site) as tables:
        await tables.open(settings.definitions)  # as a worker does that is started with them
    refused = await Command(site, "forget", "lead", LEAD, "--yes", **rates).done(2)
    assert "1 events were refused for want of a rate that there is now" in refused
    assert "`salesfx dead-letters replay --reason no_rate`" in refused
    assert keys_of(site, "2") == 0
    offsets, counters = await site.offsets(), await site.counters()
    assert await asyncio.to_thread(usable_by_now, settings, offsets, counters) == 1
    assert counters.pop(refused_of := "rejected|deal_closed|no_rate") == 2
    assert await asyncio.to_thread(usable_by_now, settings, offsets, {**counters, refused_of: 1}) == 0
    with site.worker(**rates) as worker:
        await worker.says(": reading ")
        await Command(site, "dead-letters", "replay", "--reason", "no_rate", "--yes", **rates).done(1)
        await site.caught_up(worker)
    await Command(site, "forget", "lead", LEAD, "--yes", **rates).done()


async def test_a_list_that_is_not_there_is_told(site: Site, path: Path) -> None:
    """With tables that are empty nothing else would tell that names are coming back."""
    sentence = f"forgotten_file names {path}, which is not there: nothing is withdrawn"
    assert sentence in await Command(site, "doctor").done(1), "there are no topics yet"
    with site.worker() as worker:
        await worker.says(sentence)
