"""What the server gives to walls: the document, its events, and the way in for a browser."""

import asyncio
import json
from typing import Any

import aiohttp
import msgspec
import pytest

from salesfx.reading.wall import Wall
from salesfx.settings import Settings
from salesfx.targets.lines import TargetLine
from salesfx.web.watch import ANEW_SECONDS
from tests.integration.test_server import NO_KAFKA, fill, get, serving

HTML = {"Accept": "text/html"}


@pytest.fixture
def settings(redis_url: str, namespace: str) -> Settings:
    """Take a free port of loopback, tables of this test's own, and no Kafka."""
    return Settings(redis=redis_url, namespace=namespace, kafka=NO_KAFKA, http_port=0)


async def next_event(response: aiohttp.ClientResponse) -> tuple[str, Any]:
    """Read an event that has data."""
    name = ""
    async for line in response.content:
        if line.startswith(b"event: "):
            name = line[7:].decode().strip()
        if line.startswith(b"data: "):
            return name, json.loads(line[6:])
    return "end", None


async def test_the_document_is_what_the_months_say(settings: Settings) -> None:
    """The current month as /api/months has it, and 13 months of history."""
    await fill(settings)
    async with serving(settings) as url:
        month = json.loads((await get(url + "/api/months/2026-11"))[1])
        document = json.loads((await get(url + "/api/wall"))[1])
    assert document["month"] == month
    assert [each["month"] for each in document["history"]][::12] == ["2025-11", "2026-11"]
    assert document["history"][-2]["leads"] == 1
    assert document["progress"]["kpis"]["booked_sales_value"]["so_far"] == "1150.00"


async def test_salespeople_can_be_left_out(settings: Settings) -> None:
    """Then no part of the document names one, those who have a target neither."""
    await fill(settings)
    settings = msgspec.structs.replace(settings, targets=(TargetLine(since="2026-01", salesperson="Мария", leads=5),))
    async with serving(settings) as url:
        body = (await get(url + "/api/wall"))[1]
    assert ("unassigned" in body, "Мария" in body) == (True, True)
    async with serving(msgspec.structs.replace(settings, wall_salespeople=False)) as url:
        body = (await get(url + "/api/wall"))[1]
    assert ("unassigned" in body, "Мария" in body) == (False, False)
    assert msgspec.json.decode(body, type=Wall).month.sales.booked["expansion"].value == "1150.00"


async def test_listeners_are_told_of_trouble_and_of_its_end(settings: Settings) -> None:
    """No tables yet; then there are some."""
    async with (
        serving(settings) as url,
        aiohttp.ClientSession() as session,
        session.get(url + "/api/wall/events") as response,
    ):
        assert response.content_type == "text/event-stream"
        assert await next_event(response) == ("trouble", {"trouble": "no_tables"})
        await fill(settings)
        name, document = await asyncio.wait_for(next_event(response), 5)
    assert (name, document["month"]["sales"]["booked"]["expansion"]["count"]) == ("wall", 1)


async def test_listeners_are_told_that_kafka_does_not_answer(settings: Settings) -> None:
    """As soon as the server knows, though nothing changes in the tables."""
    await fill(settings)
    async with (
        serving(settings) as url,
        aiohttp.ClientSession() as session,
        session.get(url + "/api/wall/events") as response,
        asyncio.timeout(ANEW_SECONDS / 2),
    ):
        answers = None
        while answers is None:
            _, document = await next_event(response)
            answers = document["feed"]["kafka_answers"]
    assert answers is False


async def test_listeners_are_bounded(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than there may be gets a sentence; when one has gone, there is room again."""
    await fill(settings)
    monkeypatch.setattr("salesfx.web.watch.MOST_LISTENERS", 2)
    async with serving(settings) as url, aiohttp.ClientSession() as session:
        events = url + "/api/wall/events"
        first, second = await session.get(events), await session.get(events)
        status, body, response = await get(events)
        assert (status, response.headers["Retry-After"]) == (503, "30")
        assert json.loads(body) == {"error": "2 walls are open already; ask again later."}
        first.close()
        for _ in range(50):
            async with session.get(events) as third:
                if third.status == 200:
                    assert (await next_event(third))[0] == "wall"
                    break
            await asyncio.sleep(0.1)
        else:
            pytest.fail("there is no room again")
        second.close()


async def test_the_server_ends_while_walls_are_open(settings: Settings) -> None:
    """Cleanly, and the walls hear of it."""
    await fill(settings)
    async with aiohttp.ClientSession() as session:
        async with serving(settings) as url:
            response = await session.get(url + "/api/wall/events")
            assert (await next_event(response))[0] == "wall"
            begin = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - begin < 3
        assert (await next_event(response))[0] == "end"


async def test_a_browser_hands_the_token_in_once(settings: Settings) -> None:
    """It gets a cookie that opens everything, is not the token, and ends with it."""
    await fill(settings)
    async with serving(msgspec.structs.replace(settings, http_token="s3cret")) as url:
        status, body, _ = await get(url + "/", **HTML)
        assert (status, "<form" in body, "1150" in body) == (401, True, False)
        assert (await get(url + "/wall/wall.css"))[0] == 200
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar) as session:
            async with session.post(url + "/enter", data={"token": "wrong"}) as refused:
                assert (refused.status, "That is not the token" in await refused.text()) == (401, True)
            async with session.post(url + "/enter", data={"token": "s3cret"}, allow_redirects=False) as entered:
                assert (entered.status, entered.headers["Location"]) == (303, "/")
                cookie = entered.headers["Set-Cookie"]
            assert "s3cret" not in cookie
            assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Path=/"))
            async with session.get(url + "/api/wall") as answer:
                assert answer.status == 200
            asked = "lang=bg&theme=dark"
            async with session.post(f"{url}/enter?{asked}", data={"token": "wrong"}) as refused:
                body = await refused.text()
                assert ('lang="bg"' in body, f'action="/enter?{asked.replace("&", "&amp;")}"' in body) == (True, True)
            async with session.post(f"{url}/enter?{asked}", data={"token": "s3cret"}, allow_redirects=False) as entered:
                assert entered.headers["Location"] == f"/?{asked}"
            said = {"X-Forwarded-Proto": "https"}
            async with session.post(
                url + "/enter", data={"token": "s3cret"}, headers=said, allow_redirects=False
            ) as entered:
                # Behind a proxy with TLS a visit by http:// does not send it in clear.
                assert ("Secure" in entered.headers["Set-Cookie"], "Secure" in cookie) == (True, False)
        value = cookie.partition("=")[2].partition(";")[0]
    async with serving(msgspec.structs.replace(settings, http_token="another")) as url:
        assert (await get(url + "/api/wall", Cookie=f"salesfx_access={value}"))[0] == 401
