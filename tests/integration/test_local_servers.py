"""The local Kafka and Redis, as real processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import psutil
import pytest
import redis
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import KafkaTimeoutError

from salesfx.local import LocalServerError, LocalServers, LocalSetupError, jars, java, process
from salesfx.local import redis as redis_module
from salesfx.local import servers as servers_module
from salesfx.local.jars import Jar, kafka_classpath
from salesfx.local.ports import kept_ports
from salesfx.local.process import ProcessId
from salesfx.local.redis import LocalRedis, find_redis

DEBIAN_REDIS = Path("/usr/bin/redis-server")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServers]:
    """Start one pair of servers for the tests that only look at them."""
    with LocalServers(tmp_path_factory.mktemp("both") / "data") as servers:
        yield servers


def publish(kafka: str, topic: str, value: bytes) -> None:
    """Send one record and wait until Kafka has it."""
    producer = KafkaProducer(bootstrap_servers=kafka)
    producer.send(topic, value).get(timeout=10)
    producer.close()


def make_topic(kafka: str, topic: str) -> None:
    """Make a topic of one partition."""
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.create_topics([NewTopic(topic, 1, 1)])
    admin.close()


def consume(kafka: str, topic: str) -> list[bytes]:
    """Return all values of a topic."""
    consumer = KafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest", consumer_timeout_ms=5000)
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    end = consumer.end_offsets([partition])[partition]
    values: list[bytes] = []
    while len(values) < end:
        values.append(next(consumer).value)
    consumer.close()
    return values


def ping(url: str) -> bool:
    """Return whether the Redis at this URL answers."""
    with redis.Redis.from_url(url) as client:
        return bool(client.ping())


# ---------------------------------------------------------------------------------------------- running


def test_kafka_keeps_and_returns_a_record(both: LocalServers) -> None:
    """What was published is consumed."""
    make_topic(both.kafka, "t")
    publish(both.kafka, "t", b"one")
    assert consume(both.kafka, "t") == [b"one"]


def test_asking_for_a_topic_does_not_create_it(both: LocalServers) -> None:
    """A metadata request makes no topic: a deleted one stays deleted."""
    producer = KafkaProducer(bootstrap_servers=both.kafka, max_block_ms=1500)
    with pytest.raises(KafkaTimeoutError):
        producer.send("asked", b"one")
    producer.close()


def test_kafka_flushes_every_second(both: LocalServers) -> None:
    """`log.flush.interval.ms` alone does nothing: by default Kafka never looks for what is due."""
    text = (both.kafka_process.folder / "server.properties").read_text()
    settings = dict(line.split("=", 1) for line in text.splitlines() if not line.startswith("#"))
    assert settings["log.flush.interval.ms"] == "1000"
    assert int(settings["log.flush.scheduler.interval.ms"]) <= 1000
    assert settings["log.initial.task.delay.ms"] == "0"


def test_redis_answers_with_the_password_and_refuses_without(both: LocalServers) -> None:
    """The URL works as it is; without its password nothing does."""
    assert ping(both.redis)
    with pytest.raises(redis.AuthenticationError):
        ping(f"redis://{both.redis_process.address}/0")


def test_redis_writes_an_append_only_file_and_evicts_nothing(both: LocalServers) -> None:
    """Redis keeps what it was told."""
    with redis.Redis.from_url(both.redis, decode_responses=True) as client:
        wanted = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "bind": "127.0.0.1"}
        assert {name: client.config_get(name)[name] for name in wanted} == wanted


def test_both_listen_on_the_loopback_only(both: LocalServers) -> None:
    """No other machine can reach the servers."""
    for server in (both.kafka_process, both.redis_process):
        listening = {
            connection.laddr.ip.removeprefix("::ffff:")
            for connection in psutil.Process(server.pid).net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}


def test_the_password_is_on_no_command_line_and_in_private_files_only(both: LocalServers) -> None:
    """Other users of the machine cannot read the password."""
    password = both.redis.split("@")[0].removeprefix("redis://:")
    lines = [" ".join(psutil.Process(server.pid).cmdline()) for server in (both.kafka_process, both.redis_process)]
    assert not any(password in line for line in lines)
    data = both.redis_process.folder.parent
    assert data.stat().st_mode & 0o777 == 0o700
    holders = [path for path in data.rglob("*") if path.is_file() and password.encode() in path.read_bytes()]
    assert {path.name for path in holders} == {"password", "redis.conf", "url"}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in holders)


def test_ctrl_c_in_the_terminal_does_not_reach_the_servers(both: LocalServers) -> None:
    """Each server leads a process group of its own."""
    for server in (both.kafka_process, both.redis_process):
        assert server.pid is not None
        assert os.getpgid(server.pid) == server.pid != os.getpgrp()


def test_a_second_one_on_the_folder_is_refused_and_told_who_runs_it(both: LocalServers) -> None:
    """A second start names the first's pid and addresses and leaves it alone, in this process too."""
    data = both.redis_process.folder.parent
    script = (
        f"from pathlib import Path; from salesfx.local import LocalServers; LocalServers(Path({str(data)!r})).start()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"in use by process {os.getpid()}" in done.stderr
    assert both.kafka in done.stderr
    assert both.redis_process.address in done.stderr
    assert ping(both.redis)
    with pytest.raises(LocalSetupError, match=f"in use by process {os.getpid()}"):
        LocalServers(data).start()
    assert ping(both.redis)


# ------------------------------------------------------------------------------------- stopping, starting again


def test_data_and_ports_are_kept_from_one_start_to_the_next(tmp_path: Path) -> None:
    """Records, keys and addresses outlive a stop; nothing is left running by it."""
    lines: list[str] = []
    with LocalServers(tmp_path / "data") as servers:
        addresses = servers.kafka, servers.redis
        pids = servers.kafka_process.pid, servers.redis_process.pid
        make_topic(servers.kafka, "t")
        publish(servers.kafka, "t", b"one")
        redis.Redis.from_url(servers.redis).set("key", "value")
    assert not any(pid is not None and psutil.pid_exists(pid) for pid in pids)
    with LocalServers(tmp_path / "data", progress=lines.append) as servers:
        assert (servers.kafka, servers.redis) == addresses
        assert consume(servers.kafka, "t") == [b"one"]
        assert redis.Redis.from_url(servers.redis).get("key") == b"value"
    assert lines == []


def test_ports_that_somebody_took_are_moved_and_the_data_is_still_there(tmp_path: Path) -> None:
    """A taken port is replaced, with a word to the user, and the new one is kept."""
    lines: list[str] = []
    with LocalServers(tmp_path) as servers:
        make_topic(servers.kafka, "t")
        publish(servers.kafka, "t", b"one")
        old = {"kafka": servers.kafka_process.port, "redis": servers.redis_process.port}
    with (
        socket.create_server(("127.0.0.1", old["kafka"])),
        socket.create_server(("127.0.0.1", old["redis"])),
        LocalServers(tmp_path, progress=lines.append) as servers,
    ):
        new = {"kafka": servers.kafka_process.port, "redis": servers.redis_process.port}
        assert consume(servers.kafka, "t") == [b"one"]
        assert ping(servers.redis)
    moves = {f"port {old[name]} is taken by another program: {name} moves to {new[name]}" for name in old}
    assert set(lines) == moves
    assert all(new[name] != old[name] for name in old)
    with LocalServers(tmp_path, kafka=False) as servers:
        assert servers.redis_process.port == new["redis"]


def test_two_that_start_at_once_choose_other_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each looks into a part of its own first: one port for both would end one of the two."""
    names = [f"server {number}" for number in range(50)]
    chosen = []
    for pid in (4711, 4712):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        chosen.append(set(kept_ports(tmp_path / f"{pid}.json", names, moved=print).values()))
    assert len(chosen[0]) == len(chosen[1]) == 50
    assert not chosen[0] & chosen[1]


def test_the_reason_is_told_where_a_port_is_taken_after_it_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka's last words are about its own end; why it came to that stands far above."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(servers_module, "kept_ports", _ports_with(taken.getsockname()[1]))
        with pytest.raises(
            LocalServerError, match=r"The local Kafka ended before it was ready(.|\n)*Address already in use"
        ):
            LocalServers(tmp_path, redis=False).start()


def _ports_with(kafka: int) -> Callable[..., dict[str, int]]:
    def ports(*arguments: Any, **options: Any) -> dict[str, int]:
        return kept_ports(*arguments, **options) | {"kafka": kafka}

    return ports


PARENT = """
import sys, time
from functools import partial
from pathlib import Path
from salesfx.local import LocalServers, process
if sys.argv[2] == "orphans":
    process._dying_with_us = lambda command: command  # as on macOS
servers = LocalServers(Path(sys.argv[1]))
servers.start()
print(servers.kafka, servers.redis, servers.kafka_process.pid, servers.redis_process.pid, flush=True)
time.sleep(600)
"""


def killed_parent(data: Path, kind: str, use: Callable[[str, str], None]) -> list[ProcessId]:
    """Let a process start the servers and use them, kill -9 it; return the servers as they were."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(data), kind], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        kafka, url, *pids = parent.stdout.readline().split()
        servers = [ProcessId.of(int(pid)) for pid in pids]
        use(kafka, url)
        parent.kill()
        parent.wait()
    assert None not in servers
    return [server for server in servers if server is not None]


def write_something(kafka: str, url: str) -> None:
    """Leave a record in Kafka and a key in Redis."""
    make_topic(kafka, "t")
    publish(kafka, "t", b"one")
    redis.Redis.from_url(url).set("key", "value")


@pytest.mark.slow
def test_servers_left_behind_by_a_killed_parent_are_stopped_and_their_data_taken_over(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """After kill -9 the next start stops the old servers, and has all they held."""
    lines: list[str] = []
    orphans = killed_parent(tmp_path, "orphans", write_something)
    for orphan in orphans:  # where this test fails
        request.addfinalizer(partial(orphan.stop, grace=1))
    time.sleep(0.5)
    assert all(orphan.alive for orphan in orphans)
    os.kill(orphans[0].pid, signal.SIGSTOP)  # not even a paused one is in the way
    began = time.monotonic()
    with LocalServers(tmp_path, progress=lines.append) as servers:
        assert time.monotonic() - began < 25
        assert not any(orphan.alive for orphan in orphans)
        assert consume(servers.kafka, "t") == [b"one"]
        assert redis.Redis.from_url(servers.redis).get("key") == b"value"
    assert sorted(line.split(" (")[0] for line in lines) == ["stopping Kafka", "stopping Redis"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_on_linux_the_servers_end_with_a_killed_parent(tmp_path: Path) -> None:
    """After kill -9 nothing goes on running."""
    servers = killed_parent(tmp_path, "plain", write_something)
    deadline = time.monotonic() + 20
    while any(server.alive for server in servers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(server.alive for server in servers)
    with LocalServers(tmp_path) as again:
        assert consume(again.kafka, "t") == [b"one"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_the_servers_outlive_the_thread_that_started_them(tmp_path: Path) -> None:
    """The end of a thread is not taken for the end of the process."""
    servers = LocalServers(tmp_path, kafka=False)
    starter = threading.Thread(target=servers.start)
    starter.start()
    starter.join()
    time.sleep(0.3)
    servers.check()
    assert ping(servers.redis)
    servers.stop()


def test_a_recycled_pid_is_left_alone(tmp_path: Path) -> None:
    """A process that got the pid of a server of old is not ours to kill."""
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        other = ProcessId(bystander.pid, "an earlier process")
        assert not other.alive
        other.stop(grace=0.1)
        stale = {"pid": bystander.pid, "started": "an earlier process"}
        (tmp_path / "running.json").write_text(json.dumps({**stale, "servers": {"Redis": stale}}))
        LocalServers(tmp_path, kafka=False, redis=False).start()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


# --------------------------------------------------------------------------------------------------- faults


def test_redis_can_be_killed_and_started_again_at_the_same_address(tmp_path: Path) -> None:
    """A killed Redis is noticed, and comes back with its data."""
    with LocalServers(tmp_path, kafka=False) as servers:
        address, pid = servers.redis, servers.redis_process.pid
        redis.Redis.from_url(address).set("key", "value")
        time.sleep(1.2)  # everysec
        servers.redis_process.kill()
        assert servers.redis_process.pid is None
        with pytest.raises(LocalServerError, match=r"The local Redis has ended by SIGKILL.*redis\.log"):
            servers.check()
        servers.redis_process.start()
        servers.check()
        assert (servers.redis, servers.redis_process.pid) != (address, pid)
        assert servers.redis == address
        assert redis.Redis.from_url(address).get("key") == b"value"


def test_a_paused_redis_is_silent_until_resumed_and_can_be_stopped(tmp_path: Path) -> None:
    """A paused server answers late, not never, and does not hold up the stop."""
    servers = LocalServers(tmp_path, kafka=False)
    servers.start()
    client = redis.Redis.from_url(servers.redis, socket_timeout=0.3, retry=None)
    servers.redis_process.pause()
    with pytest.raises(redis.TimeoutError):
        client.ping()
    servers.redis_process.resume()
    assert client.ping()
    client.close()
    servers.redis_process.pause()
    began = time.monotonic()
    servers.stop()
    servers.stop()
    assert time.monotonic() - began < 5


def test_kafka_can_be_killed_and_started_again_with_its_records(tmp_path: Path) -> None:
    """A killed Kafka comes back with its records."""
    with LocalServers(tmp_path, redis=False) as servers:
        make_topic(servers.kafka, "t")
        publish(servers.kafka, "t", b"one")
        servers.kafka_process.kill()
        servers.kafka_process.start()
        assert consume(servers.kafka, "t") == [b"one"]


def test_a_server_that_will_not_stop_is_killed_with_a_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop always ends."""
    lines: list[str] = []
    monkeypatch.setattr(LocalRedis, "stop_seconds", 0.2)
    monkeypatch.setattr(LocalRedis, "terminate", lambda _self: None)
    with LocalServers(tmp_path, kafka=False, progress=lines.append) as servers:
        pid = servers.redis_process.pid
    assert lines == [f"Redis (pid {pid}) did not stop in 0 s: killing it"]
    assert pid is not None
    assert not psutil.pid_exists(pid)


@pytest.mark.skipif(not DEBIAN_REDIS.exists(), reason="no redis-server installed")
def test_an_installed_redis_serves_too(tmp_path: Path) -> None:
    """A Redis 7 takes the same configuration as the wheel's Valkey."""
    with LocalServers(tmp_path, kafka=False, redis_server=DEBIAN_REDIS) as servers:
        assert psutil.Process(servers.redis_process.pid).exe() == str(DEBIAN_REDIS.resolve())
        assert ping(servers.redis)


# ------------------------------------------------------------------------------------------- what cannot work


def test_a_server_that_fails_to_start_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    """The reason that the server gave reaches the user; the folder is free again."""
    with LocalServers(tmp_path, kafka=False) as servers:
        redis.Redis.from_url(servers.redis).set("key", "value")
    for part in (tmp_path / "redis" / "data" / "appendonlydir").glob("*.rdb"):
        part.write_bytes(b"damaged")
    servers = LocalServers(tmp_path, kafka=False)
    with pytest.raises(
        LocalServerError, match=r"(?s)The local Redis ended before it was ready.*Bad file format"
    ) as failure:
        servers.start()
    assert "bye bye" not in str(failure.value)  # of the run before
    assert not (tmp_path / "running.json").exists()


def test_without_java_the_message_names_the_extra_and_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No Java: the user learns of the two ways out."""
    monkeypatch.setattr(java, "_wheel_java", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(LocalSetupError, match=r"Java 17.*pip install 'salesfx\[local\]'.*SALESFX_KAFKA"):
        LocalServers(tmp_path / "data").start()
    assert not (tmp_path / "data" / "running.json").exists()


def test_a_java_that_is_too_old_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user learns which Java was found and refused."""
    monkeypatch.setattr(java, "_wheel_java", lambda: None)
    old = program(tmp_path / "java", """echo 'openjdk version "1.8.0_392"' >&2""")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(LocalSetupError, match=f"Found: {old} is Java 8"):
        java.find_java()


def program(path: Path, body: str) -> Path:
    """Write a shell script that stands for a program."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_an_installed_java_serves_where_the_wheel_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A Java on the PATH is as good as the wheel's."""
    monkeypatch.setattr(java, "_wheel_java", lambda: None)
    program(tmp_path / "java", """echo 'openjdk version "17.0.15"' >&2""")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert java.find_java() == tmp_path / "java"


def test_a_redis_that_is_too_old_is_named_and_the_next_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version decides, not the name or the place."""
    monkeypatch.setattr(redis_module, "_wheel_valkey", lambda: None)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    old = program(tmp_path / "redis-server", "echo 'Redis server v=6.0.16 sha=0'")
    with pytest.raises(LocalSetupError, match=f"(?s)Found: {old} is Redis 6.0.*SALESFX_REDIS"):
        find_redis()
    valkey = program(tmp_path / "valkey-server", "echo 'Valkey server v=8.1.0 sha=0'")
    assert find_redis() == valkey


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    """The message says why."""
    (tmp_path / "file").touch()
    with pytest.raises(LocalSetupError, match=r"cannot be written to \(Not a directory\)"):
        LocalServers(tmp_path / "file" / "data").start()


def test_windows_is_told_of_wsl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows gets a way out, not a traceback."""
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(LocalSetupError, match="WSL"):
        LocalServers(tmp_path).start()


# ------------------------------------------------------------------------------------------------- Kafka's jars


@pytest.fixture
def one_jar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jar:
    """Leave only the smallest pinned jar, and an empty cache."""
    jar = min(jars.pinned_jars(), key=lambda jar: jar.size)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(jars, "pinned_jars", lambda: [jar])
    return jar


def test_a_jar_is_fetched_once_and_again_where_it_was_damaged(one_jar: Jar) -> None:
    """The cache is used, but not trusted."""
    lines: list[str] = []
    path = Path(kafka_classpath(lines.append))
    assert one_jar.matches(path)
    assert lines[-1] == f"fetching Kafka {jars.KAFKA_VERSION} (0 MB) 0/0 MB"
    lines.clear()
    kafka_classpath(lines.append)
    assert lines == []
    path.write_bytes(b"x" * one_jar.size)
    kafka_classpath(lines.append)
    assert one_jar.matches(path)
    assert lines != []


def test_a_jar_with_another_sha256_is_refused_and_not_kept(one_jar: Jar, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the pinned files are ever run."""
    other = Jar(one_jar.coordinate, one_jar.size, "0" * 64)
    monkeypatch.setattr(jars, "pinned_jars", lambda: [other])
    with pytest.raises(LocalServerError, match=f"(?s){one_jar.name}.*its SHA-256 is {one_jar.sha256}, expected 0000"):
        kafka_classpath(lambda _line: None)
    assert list(jars.cache_folder().rglob("*.jar")) == []


def test_without_a_network_the_message_says_what_is_needed(one_jar: Jar, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first start without a network fails with a sentence."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
    with pytest.raises(
        LocalServerError, match=f"(?s)could not be fetched from Maven Central.*{one_jar.name}.*SALESFX_KAFKA"
    ):
        kafka_classpath(lambda _line: None)


def test_two_that_fetch_at_once_both_get_the_jars(one_jar: Jar) -> None:
    """Two first starts at the same time do not harm each other."""
    command = [sys.executable, "-c", FETCH, one_jar.coordinate]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert all(one_jar.matches(Path(output.splitlines()[-1])) for output in outputs)
    assert sum("fetching" in output for output in outputs) == 1


FETCH = """
import sys
from salesfx.local import jars
jar = next(jar for jar in jars.pinned_jars() if jar.coordinate == sys.argv[1])
jars.pinned_jars = lambda: [jar]
print(jars.kafka_classpath(print))
"""


def test_the_pinned_jars_are_those_of_the_pinned_version() -> None:
    """The list and the version are changed together."""
    coordinates = {jar.coordinate for jar in jars.pinned_jars()}
    assert f"org.apache.kafka:kafka_2.13:{jars.KAFKA_VERSION}" in coordinates
    assert len({jar.sha256 for jar in jars.pinned_jars()}) == len(coordinates)


def test_ctrl_c_while_a_process_is_being_started_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may come before anybody knows of the process that would have to be stopped."""

    class Interrupted(threading.Event):
        """Ctrl-C comes while it is waited for, once."""

        came = False

        def wait(self, timeout: float | None = None) -> bool:
            if not self.came:
                self.came = True
                raise KeyboardInterrupt
            return super().wait(timeout)

    events = iter([Interrupted(), threading.Event()])
    monkeypatch.setattr(process, "threading", SimpleNamespace(Event=lambda: next(events), Thread=threading.Thread))
    name = f"sleeper-{uuid4().hex}"
    command = [sys.executable, "-c", f"import time; time.sleep(60)  # {name}"]

    with pytest.raises(KeyboardInterrupt):
        process.Child(command, log=tmp_path / "log", folder=tmp_path)

    assert [child for child in psutil.Process().children() if any(name in word for word in child.cmdline())] == []
