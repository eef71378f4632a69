"""The HTTP server, over a real Valkey and a real Kafka."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import msgspec
import pytest
from click.testing import CliRunner
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewTopic

from salesfx.cli.report import report
from salesfx.definitions import Definitions
from salesfx.kpi import Cells
from salesfx.local import LocalServers
from salesfx.log_ends import LogEnds
from salesfx.reading.explanation import explain
from salesfx.rules import Rules
from salesfx.server import ServerStartError, serve
from salesfx.settings import Settings, SettingsError
from salesfx.tables import RedisTables, connect
from salesfx.tables.generations import Generations
from salesfx.tables.store import Commit, Range
from salesfx.targets.lines import TargetLine
from salesfx.web.access import PublicWithoutTokenError
from tests.folding import FoldedTables
from tests.worked_example import EVENTS

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
NO_KAFKA = "127.0.0.1:1"
EXPLAIN = "/api/explain?month=2026-11&metric=booked_sales_value"
PROGRESS = "/api/months/2026-11/progress"
PAGES = (
    "/",
    "/about",
    "/api/wall",
    "/api/lead-flow",
    "/metrics",
    "/api/months",
    "/api/months/2026-11",
    PROGRESS,
    EXPLAIN,
    "/nowhere",
)


async def fill(settings: Settings, definitions: Definitions | None = None) -> None:
    """Put the worked example into the tables."""
    folded = FoldedTables(Rules(Definitions()))
    folded.take(EVENTS)
    tables = RedisTables(connect(settings.redis), settings.namespace)
    await tables.open(definitions or settings.definitions)
    await tables.start_at("lead_created", 0, 0)
    seen = dict.fromkeys(folded.records, b"")
    counters = {"processed|lead_created": 8}
    await tables.commit(Commit([Range("lead_created", 0, 0, 8)], seen, dict(folded.records), folded.cells, counters))
    await tables.close()


async def fill_generation(settings: Settings, definitions: Definitions, number: str) -> None:
    """Put the worked example into another generation, that was begun."""
    folded = FoldedTables(Rules(definitions))
    folded.take(EVENTS)
    tables = RedisTables(connect(settings.redis), settings.namespace, number, definitions.fingerprint)
    await tables.start_at("lead_created", 0, 0)
    seen = dict.fromkeys(folded.records, b"")
    await tables.commit(Commit([Range("lead_created", 0, 0, 8)], seen, dict(folded.records), folded.cells))
    await tables.close()


@contextlib.asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[str]:
    """Serve within this process, and end it cleanly."""
    url: asyncio.Queue[str] = asyncio.Queue()
    task = asyncio.create_task(serve(settings, ready=url.put_nowait, now=lambda: NOW))
    task.add_done_callback(lambda _: url.put_nowait(""))
    address = await url.get()
    if not address:
        await task  # it ended, and says why
    try:
        yield address
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 10)


async def get(url: str, **headers: str) -> tuple[int, str, aiohttp.ClientResponse]:
    """Ask once."""
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        return response.status, await response.text(), response


@pytest.fixture
def settings(redis_url: str, namespace: str) -> Settings:
    """Take a free port of loopback, tables of this test's own, and no Kafka."""
    return Settings(redis=redis_url, namespace=namespace, kafka=NO_KAFKA, http_port=0)


async def test_each_page_answers(settings: Settings) -> None:
    """With its type, its content and the headers of safety."""
    await fill(settings)
    async with serving(settings) as url:
        assert url.startswith("http://127.0.0.1:")
        status, body, response = await get(url + "/metrics")
        assert (status, response.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert "\nsalesfx_up 1.0\n" in body
        assert 'salesfx_booked_sales_value{category="expansion",months_ago="0"} 1150.0' in body
        status, body, response = await get(url + "/api/months/2026-10")
        assert (status, response.content_type) == (200, "application/json")
        assert json.loads(body)["lead_flow"]["by_source"] == {"web": 1}
        status, body, response = await get(url + "/api/months")
        assert [line["month"] for line in json.loads(body)["months"]][:2] == ["2026-06", "2026-10"]
        status, body, response = await get(url + "/about")
        assert (status, response.content_type) == (200, "text/html")
        assert "2026-11 so far" in body
        assert "1\N{NO-BREAK SPACE}150.00" in body
        assert "://" not in body, "nothing comes from elsewhere"
        assert (await get(url + "/livez"))[:2] == (200, '{"live":true}')
        assert (await get(url + "/readyz"))[:2] == (200, '{"ready":true}')
        for name, value in (
            ("X-Content-Type-Options", "nosniff"),
            ("Server", "salesfx"),
            ("Cache-Control", "no-store"),
        ):
            assert response.headers[name] == value
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")


async def test_openmetrics_and_compression_are_negotiated(settings: Settings) -> None:
    """As Prometheus asks for them."""
    await fill(settings)
    async with serving(settings) as url:
        _, body, response = await get(url + "/metrics", Accept="application/openmetrics-text;version=1.0.0")
        assert response.content_type == "application/openmetrics-text"
        assert body.endswith("# EOF\n")
        assert response.headers["Content-Encoding"] in {"gzip", "deflate"}
        _, _, response = await get(url + "/metrics", **{"Accept-Encoding": "identity"})
        assert "Content-Encoding" not in response.headers


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/api/months/November", 400, "'November' is not a month: write it YYYY-MM, like 2026-11."),
        ("/api/months/November/progress", 400, "'November' is not a month: write it YYYY-MM, like 2026-11."),
        ("/api/months/1999-12/progress", 400, "1999-12 is out of the years 2000 to 2100."),
        ("/api/months/2026-13", 400, "'2026-13' is not a month: write it YYYY-MM, like 2026-11."),
        (
            "/api/explain?metric=leads",
            400,
            "month is missing: ask like /api/explain?month=2026-11&metric=booked_sales_value.",
        ),
        ("/api/explain?month=x&metric=leads", 400, "'x' is not a month: write it YYYY-MM, like 2026-11."),
        (
            "/api/explain?month=2026-11&metric=leads&category=expansion",
            400,
            "leads is not broken down by category; it has source or salesperson.",
        ),
        (EXPLAIN + "&limit=10001", 400, "limit is not a number from 0 to 10000."),
        (EXPLAIN + "&lang=de", 400, "'de' is no language of ours: it is one of en, bg."),
        (EXPLAIN + "&limit=-1", 400, "limit is not a number from 0 to 10000."),
        (
            EXPLAIN + "&sources=web",
            400,
            "'sources' is none of the parameters month, metric, source, salesperson, category, limit, lang.",
        ),
        ("/api/lead-flow?sources=web", 400, "'sources' is none of the parameters source, at."),
        (
            "/api/lead-flow?at=2026-11-20T14:00",
            400,
            (
                "'2026-11-20T14:00' is not an RFC 3339 instant with an offset, like 2026-10-05T09:30:00+03:00; or write a moment "
                "like 2026-10-05T09:30:00+03:00"
            ),
        ),
        (
            "/api/lead-flow?at=2027-01-01",
            400,
            "2027-01-01T22:00:00+00:00 has not come yet: nobody knows how many leads there will be.",
        ),
        ("/nowhere", 404, "There is no such page. /about lists what there is."),
    ],
)
async def test_errors_are_sentences(settings: Settings, path: str, status: int, sentence: str) -> None:
    """As JSON."""
    async with serving(settings) as url:
        assert (await get(url + path))[:2] == (status, msgspec.json.encode({"error": sentence}).decode())


async def test_only_reading_is_allowed(settings: Settings) -> None:
    """Another method is refused, as JSON too."""
    async with (
        serving(settings) as url,
        aiohttp.ClientSession() as session,
        session.post(url + "/api/months", data=b"{}") as response,
    ):
        assert (response.status, response.headers["Allow"]) == (405, "GET,HEAD")
        assert await response.json() == {"error": "This server only answers GET and HEAD."}


async def test_a_months_progress_is_told_and_scraped(settings: Settings) -> None:
    """Against the targets of the settings, by the clock of the server: at 14:00 in Sofia, 14 and 5/9 of 21 working days are gone."""
    line = TargetLine(since="2026-11", booked_sales_value=2000, conversion=0.25)
    settings = msgspec.structs.replace(settings, targets=(line,))
    await fill(settings)
    async with serving(settings) as url:
        status, body, response = await get(url + PROGRESS)
        assert (status, response.content_type) == (200, "application/json")
        answer = json.loads(body)
        assert (answer["at"], answer["working_days"]) == ("2026-11-20T14:00:00+02:00", 21)
        booked = answer["kpis"]["booked_sales_value"]
        assert (booked["so_far"], booked["same_days_last_month"], booked["target"]) == ("1150.00", "0.00", "2000.00")
        assert answer["booked_sales_value_by_category"]["expansion"]["so_far"] == "1150.00"
        assert answer["working_time_gone"] == pytest.approx((14 + 5 / 9) / 21)
        _, metrics, _ = await get(url + "/metrics")
        assert 'salesfx_target_booked_sales_value{category="",months_ago="0"} 2000.0' in metrics
        assert 'salesfx_target_conversion_ratio{months_ago="0"} 0.25' in metrics
        assert f"salesfx_working_time_ratio {answer['working_time_gone']}" in metrics
        status, body, _ = await get(url + "/api/months/2100-12/progress")
        assert (status, json.loads(body)["kpis"]["booked_sales_value"]["target"]) == (200, "2000.00")
        assert (await get(url + "/api/months/2000-01/progress"))[0] == 200


async def test_the_report_of_a_month_is_written_from_the_tables(settings: Settings) -> None:
    """The command reads what the server reads, and needs no server."""
    await fill(settings)
    arguments = ["--month", "2026-10", "--lang", "bg", "--format", "html"]
    result = await asyncio.to_thread(CliRunner().invoke, report, arguments, obj=settings)
    assert (result.exit_code, result.exception) == (0, None)
    assert result.output.startswith('<!DOCTYPE html>\n<html lang="bg">')
    assert "1\N{NO-BREAK SPACE}200,00\N{NO-BREAK SPACE}€" in result.output


async def test_a_number_is_explained(settings: Settings) -> None:
    """To the JSON that the command gives; the limit does not change the sum."""
    await fill(settings)
    async with serving(settings) as url:
        status, body, response = await get(url + EXPLAIN + "&category=expansion")
        assert (status, response.content_type) == (200, "application/json")
        answer = json.loads(body)
        assert (answer["number"], answer["sum"], answer["count"], answer["exact"]) == ("1150.00", "1150.00", 1, True)
        assert answer["contributions"][0]["why"][1] == {
            "about": "category",
            "says": "expansion: covered until 2027-06-01 by D0",
        }
        translated = json.loads((await get(url + EXPLAIN + "&category=expansion&lang=bg"))[1])["contributions"][0][
            "why"
        ]
        assert translated[1]["says"].startswith("разширение: сделка D0 ")
        short = json.loads((await get(url + EXPLAIN + "&limit=0"))[1])
        assert (short["sum"], short["count"], short["contributions"]) == ("1150.00", 1, [])
    done = await asyncio.to_thread(
        run, settings, "explain", "2026-11", "booked_sales_value", "--category", "expansion", "--json"
    )
    assert (done.returncode, json.loads(done.stdout)) == (0, answer)


async def test_more_explanations_than_are_waited_for_are_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once and with a sentence, while the others wait for their turn and are answered; nothing else waits."""
    await fill(settings)
    go, running, most = asyncio.Event(), 0, 0

    async def held(*arguments: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go.wait()
        answer = await explain(*arguments)
        running -= 1
        return answer

    monkeypatch.setattr("salesfx.server.explain", held)
    async with serving(settings) as url:
        asked = [asyncio.create_task(get(url + EXPLAIN)) for _ in range(13)]
        done, waiting = await asyncio.wait(asked, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 3:
            more, waiting = await asyncio.wait(waiting, timeout=5)
            done |= more
        assert {task.result()[0] for task in done} == {503}
        assert "ask again later" in done.pop().result()[1]
        assert (await get(url + "/api/months/2026-11"))[0] == 200
        go.set()
        assert sorted([(await task)[0] for task in asked]) == [200] * 10 + [503] * 3
        assert most == 2
        assert (await get(url + EXPLAIN))[0] == 200


async def test_who_has_gone_away_holds_up_nobody(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Explanations for clients that have given up are given up too: the next one is answered."""
    await fill(settings)
    hung = True

    async def held(*arguments: Any) -> Any:
        if hung:
            await asyncio.Event().wait()
        return await explain(*arguments)

    monkeypatch.setattr("salesfx.server.explain", held)
    async with serving(settings) as url:
        asked = [asyncio.create_task(get(url + EXPLAIN)) for _ in range(10)]
        await asyncio.sleep(0.5)
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        hung = False
        assert (await asyncio.wait_for(get(url + EXPLAIN), 10))[0] == 200


async def fill_hours(settings: Settings) -> None:
    """Put three leads an hour into the tables for 150 days, up to two days ago; of another source up to now."""
    cells: Cells = {}
    hour = NOW - timedelta(days=150)
    while hour < NOW:
        local = hour.astimezone(ZoneInfo("Europe/Sofia")).isoformat()
        for source, end in (("ads", NOW - timedelta(days=2)), ("web", NOW)):
            for when in (local[:13], local[:10]) if hour < end else ():
                cells[when, f"leads|source={source}"] = cells.get((when, f"leads|source={source}"), 0) + 3
        hour += timedelta(hours=1)
    tables = RedisTables(connect(settings.redis), settings.namespace)
    await tables.open(settings.definitions)
    await tables.start_at("lead_created", 0, 0)
    await tables.commit(Commit([Range("lead_created", 0, 0, 1)], cells=cells))
    await tables.close()


async def test_the_lead_flow_is_told_alike_everywhere(settings: Settings) -> None:
    """Gauges, API and command: of a source that died two days ago, and as it was before that."""
    await fill_hours(settings)
    then = "2026-11-18T10:00:00+02:00"
    async with serving(settings) as url:
        for _ in range(2):  # what is usual is kept from the first time
            body = (await get(url + "/metrics"))[1]
            assert 'salesfx_lead_flow_by_source_state{source="ads",state="silent"} 1.0' in body
            assert 'salesfx_lead_flow_by_source_state{source="web",state="ok"} 1.0' in body
        status, body, response = await get(url + "/api/lead-flow")
        assert (status, response.content_type) == (200, "application/json")
        answer = json.loads(body)
        assert (answer["source"], answer["at"]) == (None, "2026-11-20T14:00:00+02:00")
        assert {name: flow["state"] for name, flow in answer["by_source"].items()} == {"ads": "silent", "web": "ok"}
        ads = json.loads((await get(url + "/api/lead-flow?source=ads"))[1])
        assert ads["sentence"].startswith("No lead from ads for 2 days, since Wednesday 14:00; 14")
        assert {
            **answer["by_source"]["ads"],
            "at": answer["at"],
            "source": "ads",
            "feed_trouble": [],
            "by_source": {},
        } == ads
        before = json.loads((await get(f"{url}/api/lead-flow?source=ads&at={then}"))[1])
        assert (before["state"], before["at"]) == ("ok", then)
        assert before == json.loads((await get(url + "/api/lead-flow?source=ads&at=2026-11-18T08:00:00Z"))[1])
    done = await asyncio.to_thread(run, settings, "lead-flow", "--source", "ads", "--at", then, "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, before)


async def test_the_lead_flow_for_people(settings: Settings) -> None:
    """Window by window, then the sentence, then the sources."""
    await fill_hours(settings)
    done = await asyncio.to_thread(run, settings, "lead-flow", "--at", "2026-11-20T12:00:00Z")
    assert done.returncode == 0, done.stderr
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert lines[0].startswith("All leads, 2026-11-20 14:00: ")
    assert [line.split("  ")[0] for line in lines if line.startswith(("last ", "since "))] == [
        "last 24 hours",
        "last 3 days",
        "last 7 days",
        "last 14 days",
        "since the last lead",
    ]
    assert "ads: No lead from ads for 2 days, since Wednesday 14:00;" in done.stdout
    assert max(map(len, lines)) <= 80
    for arguments, sentence in (
        (("--source", "nobody"), "'nobody' is none of the sources that are shown and had leads by then: ads, web."),
        (("--at", "2100-01-01"), "has not come yet"),
        (("--at", "yesterday"), "'yesterday' is not a date like 2026-10-05"),
    ):
        done = await asyncio.to_thread(run, settings, "lead-flow", *arguments)
        assert (done.returncode, sentence in " ".join(done.stderr.split())) == (2, True), done.stderr
    assert (await asyncio.to_thread(run, settings, "lead-flow", "--help")).returncode == 0


async def test_a_month_without_anything_is_zeros(settings: Settings) -> None:
    """Not an error."""
    await fill(settings)
    async with serving(settings) as url:
        status, body, _ = await get(url + "/api/months/1999-01")
    assert (status, json.loads(body)["lead_flow"]["total"]) == (200, 0)


async def test_no_tables_yet(settings: Settings) -> None:
    """It serves, says so, and is not ready."""
    async with serving(settings) as url:
        assert (await get(url + "/readyz"))[:2] == (503, '{"ready":false,"reasons":["there are no tables yet"]}')
        status, body, _ = await get(url + "/api/months")
        assert (status, "no tables yet" in body) == (503, True)
        status, body, _ = await get(url + "/metrics")
        assert (status, "salesfx_up 0.0" in body, "salesfx_leads" in body) == (200, True, False)
        assert "no tables yet" in (await get(url + "/about"))[1]
        assert "There are no numbers yet" in (await get(url + "/"))[1]


async def test_other_definitions_are_not_shown(settings: Settings) -> None:
    """The API says what changed; /readyz, which asks for no token, only that."""
    await fill(settings, Definitions(recipient_limit=7))
    async with serving(settings) as url:
        status, body, _ = await get(url + "/readyz")
        assert (status, "recipient_limit" in body) == (503, False)
        status, body, _ = await get(url + "/api/months/2026-10")
        assert (status, "made with 7, now it is 10" in body) == (503, True)
        body = (await get(url + "/metrics"))[1]
        assert ("salesfx_up 0.0" in body, "salesfx_leads" in body) == (True, False)


async def test_a_running_server_goes_over_to_another_generation(settings: Settings) -> None:
    """At a swap made under other settings each answer is wholly of one or of the other, and it ends with the other.

    A server that is started with settings that are not those of what is shown refuses, as ever.
    """
    await fill(settings)
    by_utc = Definitions(timezone="UTC")
    client = connect(settings.redis)
    generations = Generations(client, settings.namespace)
    number = await generations.begin(by_utc, "1")
    await fill_generation(settings, by_utc, number)
    await generations.complete(number)
    answers: list[tuple[int, str]] = []
    async with serving(settings) as url:
        first = (await get(url + "/api/months"))[1]
        assert json.loads((await get(url + "/api/months/2026-10"))[1])["lead_flow"]["total"] == 1
        await generations.show(number)
        for _ in range(100):
            answers.append((await get(url + "/api/months"))[:2])
            if answers[-1][0] == 200 and answers[-1][1] != first:
                break
            await asyncio.sleep(0.05)
        for month, leads in (("2026-09", 1), ("2026-10", 0)):  # L1 came at 21:30 there
            assert json.loads((await get(f"{url}/api/months/{month}"))[1])["lead_flow"]["total"] == leads
        assert "salesfx_up 1.0" in (await get(url + "/metrics"))[1]
        last = (await get(url + "/api/months"))[1]
        assert {body for status, body in answers if status == 200} <= {first, last}
        assert all("salesfx rebuild" in body for status, body in answers if status != 200)
        assert {status for status, _ in answers} <= {200, 503}
        assert len([status for status, _ in answers if status == 503]) < 40, "it takes about a second"
        await generations.show("1")
        for _ in range(100):
            if (await get(url + "/api/months"))[:2] == (200, first):
                break
            await asyncio.sleep(0.05)
        assert (await get(url + "/api/months"))[:2] == (200, first), "and back"
    async with serving(msgspec.structs.replace(settings, timezone="Asia/Tokyo")) as url:
        assert (await get(url + "/api/months"))[0] == 503
    await client.aclose()


# The token.


async def test_a_token_is_asked_for_by_whatever_shows_sales(settings: Settings) -> None:
    """On loopback too, for pages that do not exist too, and not for health checks."""
    await fill(settings)
    async with serving(msgspec.structs.replace(settings, http_token="s3cret-ключ")) as url:
        wrong: list[dict[str, str]] = [
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic s3cret-ключ"},
            {"Authorization": "s3cret-ключ"},
            {"Authorization": "Bearer "},
            {"Authorization": "Bearer s3cret-ключ2"},
        ]
        for page in PAGES:
            for headers in wrong:
                status, body, response = await get(url + page, **headers)
                assert (status, response.headers["WWW-Authenticate"]) == (401, 'Bearer realm="salesfx"')
                assert "s3cret" not in body
            assert (await get(url + page, Authorization="Bearer s3cret-ключ"))[0] in {200, 404}
        for page in ("/livez", "/readyz"):
            assert (await get(url + page))[0] == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "sales.example"])  # noqa: S104
async def test_sales_are_not_shown_beyond_loopback_without_a_token(settings: Settings, host: str) -> None:
    """It does not even listen, and says what to set."""
    with pytest.raises(PublicWithoutTokenError, match=r"SALESFX_HTTP_TOKEN.*--public"):
        await serve(msgspec.structs.replace(settings, http_host=host))


@pytest.mark.parametrize("change", [{"http_public": True}, {"http_token": "t"}])
async def test_beyond_loopback_with_a_token_or_the_explicit_flag(settings: Settings, change: dict[str, Any]) -> None:
    """Under any name."""
    await fill(settings)
    async with serving(msgspec.structs.replace(settings, http_host="0.0.0.0", **change)) as url:  # noqa: S104
        status, _, _ = await get(url + "/api/months", Host="sales.example", Authorization="Bearer t")
    assert status == 200


async def test_a_strangers_name_for_loopback_is_refused(settings: Settings) -> None:
    """A website that lets its name point to 127.0.0.1 reads nothing; people and health checks are not in the way."""
    await fill(settings)
    async with serving(settings) as url:
        for host in ("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "[", ""):
            for page in PAGES:
                assert (await get(url + page, Host=host))[0] == 403, host
            assert (await get(url + "/livez", Host=host))[0] == 200
        for host in ("localhost", "LOCALHOST:9", "127.0.0.1:8000", "[::1]:8000", "salesfx.localhost", "10.0.0.5"):
            assert (await get(url + "/api/months", Host=host))[0] == 200, host


# Faults.


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[LocalServers]:
    """Start a Valkey that may be killed."""
    with LocalServers(tmp_path / "data", kafka=False) as servers:
        yield servers


async def test_a_redis_that_dies_and_comes_back(own_redis: LocalServers, namespace: str) -> None:
    """Nothing stale is shown meanwhile, no secret is, and all is well again without a restart."""
    settings = Settings(redis=own_redis.redis, namespace=namespace, kafka=NO_KAFKA, http_port=0)
    password = own_redis.redis.split(":")[2].partition("@")[0]
    await fill(settings)
    async with serving(settings) as url:
        before = (await get(url + "/api/months"))[1]
        process = own_redis.redis_process
        await asyncio.to_thread(process.stop)
        body = (await get(url + "/metrics"))[1]
        assert ("salesfx_up 0.0" in body, "salesfx_leads" in body) == (True, False)
        assert (await get(url + "/readyz"))[:2] == (503, '{"ready":false,"reasons":["Redis cannot be read"]}')
        assert (await get(url + "/livez"))[0] == 200
        for page in ("/api/months", "/about"):
            text = (await get(url + page))[1]
            assert "SALESFX_REDIS" in text
            assert password not in text
        await asyncio.to_thread(process.start)
        assert "salesfx_up 1.0" in (await get(url + "/metrics"))[1]
        assert (await get(url + "/api/months"))[1] == before


async def test_a_redis_that_hangs_does_not_hang_a_scrape(own_redis: LocalServers, namespace: str) -> None:
    """After five seconds it is down; the answer that comes late is nobody else's."""
    settings = Settings(redis=own_redis.redis, namespace=namespace, kafka=NO_KAFKA, http_port=0)
    await fill(settings)
    async with serving(settings) as url:
        before = (await get(url + "/api/months/2026-10"))[1]
        pid = own_redis.redis_process.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            begin = time.monotonic()
            pages = await asyncio.gather(*(get(url + page) for page in ("/metrics", "/readyz", "/api/months")))
            assert 4.5 < time.monotonic() - begin < 8
        finally:
            os.kill(pid, signal.SIGCONT)
        assert "salesfx_up 0.0" in pages[0][1]
        assert [status for status, _, _ in pages] == [200, 503, 503]
        for _ in range(5):
            assert (await get(url + "/api/months/2026-10"))[1] == before
        assert "salesfx_up 1.0" in (await get(url + "/metrics"))[1]


async def test_a_port_that_is_taken(settings: Settings) -> None:
    """A sentence names it and the way out."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerStartError, match=rf"port {port} of 127\.0\.0\.1 is taken.*--port"):
            await serve(msgspec.structs.replace(settings, http_port=port))
    with pytest.raises(ServerStartError, match="cannot listen on 192"):
        await serve(msgspec.structs.replace(settings, http_host="192.0.2.1", http_public=True))


async def test_a_redis_url_that_is_none_does_not_show_its_password(settings: Settings) -> None:
    """The client's own message would quote it."""
    with pytest.raises(SettingsError, match="redis") as raised:
        await asyncio.wait_for(serve(msgspec.structs.replace(settings, redis="redis://db:hunter2")), 10)
    assert "hunter2" not in str(raised.value)


# Kafka's log ends.


def transaction(kafka: str, topic: str) -> KafkaProducer:
    """Commit one record, and leave a second one in a transaction that is still open."""
    producer = KafkaProducer(bootstrap_servers=kafka, transactional_id=f"t-{topic}")
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(topic, b"1", partition=0).get(timeout=10)
    producer.commit_transaction()
    producer.begin_transaction()
    producer.send(topic, b"2", partition=0).get(timeout=10)
    return producer


async def test_the_end_is_what_a_reader_of_committed_events_can_reach(kafka: str, settings: Settings) -> None:
    """An event in an open transaction is not lag; partitions of topics that do not exist are none."""
    settings = msgspec.structs.replace(settings, kafka=kafka, topic_prefix=settings.namespace + ".")
    topic = settings.kafka_topic("lead_created")

    def prepare() -> KafkaProducer:
        admin = KafkaAdminClient(bootstrap_servers=kafka)
        admin.create_topics([NewTopic(topic, 2, 1)])
        admin.close()
        return transaction(kafka, topic)

    producer = await asyncio.to_thread(prepare)
    ends = LogEnds(settings)
    await asyncio.to_thread(ends.refresh)
    assert ends.latest == (True, {"lead_created:0": 2, "lead_created:1": 0})
    await asyncio.to_thread(producer.commit_transaction)
    await asyncio.to_thread(producer.close)
    await asyncio.to_thread(ends.refresh)
    assert ends.latest == (True, {"lead_created:0": 4, "lead_created:1": 0})
    await fill(settings)
    async with serving(settings) as url:
        for _ in range(100):
            body = (await get(url + "/metrics"))[1]
            if "salesfx_kafka_up" in body:
                break
            await asyncio.sleep(0.1)
        assert "salesfx_kafka_up 1.0" in body
        assert 'salesfx_lag_events{partition="0",topic="lead_created"} 0.0' in body


async def test_an_old_answer_of_kafkas_is_none(kafka: str, settings: Settings) -> None:
    """Where it hangs, the last answer is not shown for ever."""
    ends = LogEnds(msgspec.structs.replace(settings, kafka=kafka), old=0.5)
    assert ends.latest is None
    await asyncio.to_thread(ends.refresh)
    assert ends.latest is not None
    assert ends.latest.answers
    await asyncio.sleep(0.6)
    assert ends.latest == (False, {})


async def test_a_kafka_that_is_away_does_not_break_serving(settings: Settings) -> None:
    """Its absence is shown, the numbers are too, and the lag is not."""
    await fill(settings)
    async with serving(settings) as url:
        for _ in range(100):
            body = (await get(url + "/metrics"))[1]
            if "salesfx_kafka_up" in body:
                break
            await asyncio.sleep(0.1)
        assert "salesfx_kafka_up 0.0" in body
        assert "salesfx_up 1.0" in body
        assert "salesfx_lag_events" not in body
        assert (await get(url + "/readyz"))[0] == 200


# The commands.


def command(settings: Settings, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """Give a command line and its environment."""
    environ = {
        **os.environ,
        "SALESFX_REDIS": settings.redis,
        "SALESFX_NAMESPACE": settings.namespace,
        "SALESFX_KAFKA": settings.kafka,
    }
    return [sys.executable, "-c", "from salesfx.cli import main; main()", *arguments], environ


def run(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    line, environ = command(settings, *arguments)
    return subprocess.run(line, env=environ, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_as_a_process_says_where_and_ends_cleanly(settings: Settings, number: signal.Signals) -> None:
    """By SIGTERM and by Ctrl-C."""
    line, environ = command(settings, "serve", "--port", "0")
    with subprocess.Popen(line, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("ready http://127.0.0.1:")
            process.send_signal(number)
            _, errors = process.communicate(timeout=15)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_serve_beyond_loopback_is_refused_on_the_command_line(settings: Settings) -> None:
    """With a sentence and the exit status of what somebody has to decide."""
    done = run(settings, "serve", "--host", "0.0.0.0", "--port", "0")  # noqa: S104
    assert done.returncode == 2
    assert "SALESFX_HTTP_TOKEN" in done.stderr
    assert "Traceback" not in done.stderr


async def test_kpi_gives_the_json_of_the_api(settings: Settings) -> None:
    """To the letter, but for the spaces; and a table for people."""
    await fill(settings)
    done = await asyncio.to_thread(run, settings, "kpi", "--month", "2026-10", "--json")
    async with serving(settings) as url:
        assert list(json.loads(done.stdout).items()) == list(
            json.loads((await get(url + "/api/months/2026-10"))[1]).items()
        )
    done = await asyncio.to_thread(run, settings, "kpi", "--month", "2026-10")
    assert (done.returncode, "1 200.00" in done.stdout) == (0, True)


async def test_explain_and_show_for_people(settings: Settings) -> None:
    """In words, with the places of the events; names are not read as markup."""
    await fill(settings)
    done = await asyncio.to_thread(run, settings, "explain", "2026-10", "qualified_leads_value")
    assert done.returncode == 0, done.stderr
    assert "2026-10, qualified_leads_value: 1 200.00 EUR" in done.stdout
    assert "1 contribution adds up to 1 200.00 EUR, as the tables show" in done.stdout
    assert "value: quote Q2 at quote_sent[" in done.stdout
    done = await asyncio.to_thread(run, settings, "explain", "2026-10", "conversion")
    assert "2026-10, conversion: 0.0 %" in done.stdout
    done = await asyncio.to_thread(run, settings, "show", "account", "A1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("deal D0") < done.stdout.index("deal D3")
    done = await asyncio.to_thread(run, settings, "show", "quote", "Q3", "--json")
    assert json.loads(done.stdout)["entity"]["qualifies"] is False
    done = await asyncio.to_thread(run, settings, "show", "deal", "nobody")
    assert (done.returncode, "there is no deal 'nobody'" in done.stderr) == (1, True)
    done = await asyncio.to_thread(run, settings, "explain", "2026-10", "leads", "--category", "expansion")
    assert (done.returncode, "it has source or salesperson" in done.stderr) == (2, True)


async def test_a_number_that_is_not_the_sum_is_said_loudly(settings: Settings) -> None:
    """Somebody wrote into the tables: both numbers, exit status 1, and where to go on."""
    await fill(settings)
    client = connect(settings.redis)
    key = f"{{{settings.namespace}}}:1:month:2026-11"
    await client.hincrby(key, "booked_sales_value|category=expansion", 1)
    await client.aclose()
    done = await asyncio.to_thread(run, settings, "explain", "2026-11", "booked_sales_value")
    assert done.returncode == 1
    assert "1 150.01 EUR" in done.stdout
    assert "adds up to 1 150.00 EUR, NOT as the tables show" in done.stdout
    assert "`salesfx audit --month 2026-11`" in done.stderr
    async with serving(settings) as url:
        answer = json.loads((await get(url + EXPLAIN))[1])
    assert (answer["number"], answer["sum"], answer["exact"]) == ("1150.01", "1150.00", False)


def test_kpi_tells_what_is_wrong(settings: Settings) -> None:
    """No tables, no month, no Redis: a sentence each, and no traceback."""
    no_tables = run(settings, "kpi")
    assert (no_tables.returncode, "no tables yet" in no_tables.stderr) == (1, True)
    no_month = run(settings, "kpi", "--month", "2026-13")
    assert (no_month.returncode, "is not a month" in no_month.stderr) == (2, True)
    away = run(msgspec.structs.replace(settings, redis="redis://:hunter2@127.0.0.1:1/0"), "kpi")
    assert away.returncode == 1
    assert "127.0.0.1:1" in away.stderr
    assert "SALESFX_REDIS" in away.stderr
    for done in (no_tables, no_month, away):
        assert "Traceback" not in done.stderr
        assert "hunter2" not in done.stderr
