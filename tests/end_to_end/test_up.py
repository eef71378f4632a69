"""`salesfx up` as its user has it: starting, stopping, starting again, and what can go wrong."""

import json
import re
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.stack_process import StackProcess, alive, eventually, running, salesfx
from tests.worked_example import FILE

pytestmark = pytest.mark.slow

EVENTS = 8
"""Lines of the worked example."""
MONTH = "2026-11"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackProcess]:
    """One that runs, for tests that leave it running."""
    with running("up", tmp_path_factory.mktemp("up") / "data") as shared:
        shared.wait_ready()
        yield shared


def publish(stack: StackProcess, file: Path = FILE) -> None:
    """Publish a file to it."""
    done = salesfx("publish", str(file), environ=stack.environ)
    assert done.status == 0, done


def kpi(stack: StackProcess, month: str = MONTH) -> object:
    """Ask the command line for a month."""
    done = salesfx("kpi", "--month", month, "--json", environ=stack.environ)
    assert done.status == 0, done
    return json.loads(done.out)


def nothing_listens(address: str) -> bool:
    """Tell whether this host:port accepts no connection."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError:
        return True
    return False


# ------------------------------------------------------------------------------------------------ starting, stopping


@pytest.mark.parametrize(("number", "times"), [(signal.SIGINT, 3), (signal.SIGTERM, 1)])
def test_ctrl_c_and_sigterm_stop_all_of_it(tmp_path: Path, number: signal.Signals, times: int) -> None:
    """Either ends it with status 0 and leaves no process, no listener and no mark of a running one; the data stays.

    An impatient user's further Ctrl-C change nothing of that.
    """
    with running("up", tmp_path / "data") as stack:
        stack.wait_ready()
        for words in ("java", "valkey-server", "salesfx worker", "salesfx serve"):
            stack.wait_child(words)
        addresses = stack.url.removeprefix("http://"), stack.kafka, stack.redis.rpartition("@")[2].removesuffix("/0")
        assert not any(nothing_listens(address) for address in addresses)
        assert stack.stop(number, times) == []
        assert stack.err.splitlines()[-1] == "stopping"
        assert all(nothing_listens(address) for address in addresses)
        assert not (stack.data / "running.json").exists()
        assert list((stack.data / "kafka" / "data").glob("lead_created-*"))


def test_a_second_start_has_the_data_of_the_first(tmp_path: Path) -> None:
    """What was counted is there again in seconds, at the same addresses, and is not counted twice; more can come."""
    with running("up", tmp_path / "data") as stack:
        first_start = stack.wait_ready()
        publish(stack)
        stack.wait_taken(EVENTS)
        before, environ = kpi(stack), stack.environ
        stack.stop()
    with running("up", tmp_path / "data") as stack:
        second_start = stack.wait_ready(60)
        print(f"ready after {first_start:.1f} s, and at the second start after {second_start:.1f} s")  # noqa: T201
        assert stack.environ == environ
        assert kpi(stack) == before == stack.month(MONTH)
        assert stack.taken() == EVENTS
        publish(stack)  # which it has already
        stack.wait_taken(2 * EVENTS)
        assert kpi(stack) == before
        assert stack.stop() == []


def test_ctrl_c_while_it_starts(tmp_path: Path) -> None:
    """Also before it is ready, Ctrl-C ends it with status 0 and leaves no process; the next start works."""
    data = tmp_path / "data"
    record = data / "running.json"
    for stage in ("Redis", "Kafka", "worker", "serve"):
        with running("up", data) as stack:
            eventually(f"{stage} is started", lambda: record.exists() and f'"{stage}"' in record.read_text())  # noqa: B023
            assert stack.stop() == []
            assert not record.exists()
            assert "Traceback" not in stack.err
    with running("up", data) as stack:
        stack.wait_ready()
        assert stack.stop() == []


def test_a_withdrawal_beside_it_does_not_end_it(tmp_path: Path) -> None:
    """Its worker, whose tables are deleted, is started again, and goes on with the new list and the new tables."""
    listed = {"SALESFX_FORGOTTEN_FILE": str(tmp_path / "forgotten.json")}
    with running("up", tmp_path / "data", environ=listed) as stack:
        stack.wait_ready()
        publish(stack)
        stack.wait_taken(EVENTS)
        before, environ = kpi(stack), {**stack.environ, **listed}
        done = salesfx("forget", "account", "A1", "--yes", environ=environ)
        assert done.status == 0, done
        publish(stack)  # which it has already, under the id
        stack.wait_said("the worker ended (generation 1 of the tables")
        stack.wait_taken(2 * EVENTS)
        assert json.loads(salesfx("kpi", "--month", MONTH, "--json", environ=environ).out) == before
        assert salesfx("audit", "--from-log", environ=environ).status == 0
        assert stack.stop() == []


IN_A_DESTRUCTOR = """
import os, signal, time
from salesfx.local.stack import LocalStack

class Pool:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)

LocalStack._is_ready = lambda self: Pool() is None
"""
"""Ctrl-C comes while Python runs a destructor, which cannot raise anything; it is never ready."""


def test_ctrl_c_in_a_destructor_is_not_lost(tmp_path: Path) -> None:
    """It ends as with any Ctrl-C, at once and without a traceback."""
    with running("up", tmp_path / "data", patch=IN_A_DESTRUCTOR) as stack:
        assert stack.wait_ended() == 0
        assert stack.err.splitlines()[-1] == "stopping"
        assert "Traceback" not in stack.err
        assert not (stack.data / "running.json").exists()


AS_ON_MACOS = "from salesfx.local import process; process._dying_with_us = lambda command: command"
"""There, what `up` runs does not hear of its end."""


@pytest.mark.parametrize("patch", [pytest.param("", id="plain"), pytest.param(AS_ON_MACOS, id="orphans")])
def test_after_kill_9_nothing_is_left_and_the_next_start_works(tmp_path: Path, patch: str) -> None:
    """What a killed one ran is stopped by the next start at the latest, which has its data and counts on."""
    with running("up", tmp_path / "data", patch=patch) as stack:
        stack.wait_ready()
        publish(stack)
        stack.wait_taken(EVENTS)
        before, orphans = kpi(stack), stack.children()
        stack.process.kill()
        stack.process.wait()
        try:
            if not patch and sys.platform == "linux":
                eventually("nothing runs any more", lambda: not any(map(alive, orphans)))
            with running("up", tmp_path / "data") as again:
                again.wait_ready()
                assert [orphan for orphan in orphans if alive(orphan)] == []
                stopped = [
                    name for name in ("Kafka", "Redis", "worker", "serve") if f"stopping {name} (pid " in again.err
                ]
                assert len(stopped) == (4 if patch else 0)
                assert kpi(again) == before
                publish(again)
                again.wait_taken(2 * EVENTS)
                assert kpi(again) == before
                assert again.stop() == []
        finally:
            for process in filter(alive, orphans):
                process.kill()


# ------------------------------------------------------------------------------------------- two of them, and ports


def test_a_second_one_on_the_folder_is_refused(stack: StackProcess) -> None:
    """While one runs, another on its folder ends with status 2 and names the first, which goes on."""
    with running("up", stack.data) as second:
        assert second.wait_ended() == 2
        assert f"The data folder {stack.data} is in use by process {stack.process.pid}" in second.sentence
        assert stack.kafka in second.sentence
        assert "worker ," not in second.sentence
        assert "--data" in second.sentence
    assert stack.running
    assert stack.get("/readyz") == '{"ready":true}'


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """A port that was asked for and is taken ends it at once; nothing was started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        with running("up", tmp_path / "data", port=port) as stack:
            assert stack.wait_ended() == 1
            assert stack.sentence == f"port {port} is taken; choose another with --port"
            assert not (tmp_path / "data" / "ports.json").exists()


def test_the_settings_file_counts_for_all_its_processes_and_its_port_gives_way(tmp_path: Path) -> None:
    """`--config` names the settings of the worker and the HTTP server too; a taken port of theirs is replaced."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        file = tmp_path / "other.toml"
        file.write_text(f"""http_port = {port}\ncurrency = "USD"\ntimezone = "Asia/Tokyo"\n""", encoding="utf-8")
        with running("up", tmp_path / "data", before=("--config", str(file)), port=None) as stack:
            stack.wait_ready()
            assert f"port {port} is taken; using {stack.url.rpartition(':')[2]}" in stack.err
            assert stack.month(MONTH)["currency"] == "USD"
            line = b'{"topic": "lead_created", "event_id": "1", "lead_id": "1", "occurred_at": "2026-10-31T15:00:00Z"}'
            assert salesfx("publish", "-", environ=stack.environ, stdin=line).status == 0
            stack.wait_taken(1)
            assert stack.month(MONTH)["lead_flow"]["total"] == 1  # it is November in Tokyo, and not yet in Sofia


# ------------------------------------------------------------------------------------------------ when a part of it ends


@pytest.mark.parametrize("name", ["worker", "serve"])
def test_a_killed_process_is_started_again(stack: StackProcess, name: str) -> None:
    """Killed with -9, the worker or the HTTP server comes back by itself, and goes on where it was; Kafka and Redis stay."""
    before, taken = stack.children(), stack.taken()
    killed = stack.wait_child(f"salesfx {name}")
    killed.kill()
    stack.wait_said(f"the {name} ended (SIGKILL) and is started again")
    eventually("the new one runs", lambda: (new := stack.child(f"salesfx {name}")) and new.pid != killed.pid)
    eventually("the HTTP server answers", lambda: not nothing_listens(stack.url.removeprefix("http://")))
    publish(stack)
    stack.wait_taken(taken + EVENTS)
    assert [process for process in before if process != killed and not alive(process)] == []


def test_settings_that_mean_other_numbers(tmp_path: Path) -> None:
    """A folder whose tables mean something else is not touched: it ends with status 2, and says what has changed."""
    data = tmp_path / "data"
    with running("up", data) as stack:
        stack.wait_ready()
        publish(stack)
        stack.wait_taken(EVENTS)
        before = kpi(stack)
        stack.stop()
    with running("up", data, environ={"SALESFX_TIMEZONE": "Asia/Tokyo"}) as stack:
        assert stack.wait_ended() == 2
        assert stack.sentence.startswith("the definitions have changed since the tables were made: ")
        assert "Europe/Sofia" in stack.sentence
        assert "Asia/Tokyo" in stack.sentence
        assert "`salesfx rebuild`" in stack.sentence
        assert stack.out == ""
        assert not (data / "running.json").exists()
    with running("up", data) as stack:
        stack.wait_ready()
        assert kpi(stack) == before
        # What an earlier run has said is not taken for why this one ended.
        stack.wait_child("salesfx worker").kill()
        stack.wait_said("the worker ended (SIGKILL) and is started again")
        assert stack.stop() == []


def test_a_worker_that_cannot_stay(tmp_path: Path) -> None:
    """A worker that ends again and again is not started for ever; the sentence says why it ended and where to look."""
    with running("up", tmp_path / "data") as stack:
        stack.wait_ready()
        ended = 0
        while stack.running and ended < 20:
            worker = eventually(
                "a worker runs, or it ended", lambda: stack.child("salesfx worker") or not stack.running
            )
            if worker is not True:
                worker.kill()
                psutil.wait_procs([worker], timeout=30)
                ended += 1
        assert stack.wait_ended() == 1
        assert 5 <= ended < 20
        assert re.match(rf"the worker ended {ended} times within \d+ minutes, last so: SIGKILL\. See ", stack.sentence)
        assert str(tmp_path / "data" / "worker.log") in stack.sentence


@pytest.mark.parametrize(("words", "name"), [("java", "Kafka"), ("valkey-server", "Redis")])
def test_a_server_that_dies_ends_all_of_it(tmp_path: Path, words: str, name: str) -> None:
    """Without Kafka or Redis there is nothing to run: it ends with status 1 and a sentence, and leaves no process."""
    with running("up", tmp_path / "data") as stack:
        stack.wait_ready()
        children = stack.children()
        stack.wait_child(words).kill()
        assert stack.wait_ended() == 1
        assert stack.sentence.startswith(f"The local {name} has ended by SIGKILL. The end of ")
        assert [child for child in children if alive(child)] == []
        assert not (tmp_path / "data" / "running.json").exists()
