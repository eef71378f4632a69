"""Kafka as the source of truth: the topics that salesfx needs, whether they may forget, and which log they are."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import InvalidReplicationFactorError, KafkaError, TopicAlreadyExistsError

from salesfx.errors import NeedsAttentionError, SalesfxError
from salesfx.events import DEAD_LETTERS, TOPICS
from salesfx.kafka_security import connection_troubles, kafka_python_options
from salesfx.settings import Settings

_KEPT_FOR_EVER = {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}
_EVENT_CONFIG = {**_KEPT_FOR_EVER, "message.timestamp.type": "LogAppendTime"}
"""The log is the source of truth, and its time is when we learned of an event."""
_DEAD_LETTER_CONFIG = {**_EVENT_CONFIG, "max.message.bytes": str(8 * 1024 * 1024)}
"""A dead letter is the whole message and its origin, so it may be larger than a message."""
_REMEDY = {
    "retention.ms": "events would be deleted",
    "retention.bytes": "events would be deleted",
    "cleanup.policy": "events would be deleted",
    "message.timestamp.type": "when an event came to be known could not be told",
}
_EARLIEST, _LATEST, _READ_COMMITTED = -2, -1, 1
"""Kafka's own numbers for what is asked of its logs."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CLUSTER = "cluster"
"""Name under which the cluster's id is kept beside the offsets."""
REQUEST_SECONDS = 8.0


class KafkaAwayError(SalesfxError):
    """Kafka cannot be reached, or refuses us."""


class LogUnfitError(NeedsAttentionError):
    """A topic is missing, or set up so that it would forget events."""


class OtherLogError(NeedsAttentionError):
    """The stored offsets belong to another log than the one that Kafka has."""


@contextmanager
def reaching_kafka(settings: Settings) -> Iterator[None]:
    """Turn what kafka-python raises meanwhile into a sentence with the reason, which it only logs.

    Raises:
        KafkaAwayError: In place of a KafkaError.

    """
    with connection_troubles() as troubles:
        try:
            yield
        except KafkaError as error:
            reason = "; ".join(troubles) or str(error) or type(error).__name__
            raise KafkaAwayError(
                f"cannot use Kafka at {settings.kafka} ({settings.kafka_security_protocol}): {reason.rstrip('.')}. Check "
                "that it runs, the address (SALESFX_KAFKA), and the other kafka_ settings."
            ) from error


class KafkaLog:
    """One Kafka cluster, looked at through kafka-python's admin client. Blocking: call it in a thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topics = {settings.kafka_topic(topic): topic for topic in TOPICS}

    def ensure_topics(self) -> list[str]:
        """Create the topics that are missing, with the settings that a source of truth needs.

        Returns:
            The names of those that were created.

        Raises:
            KafkaAwayError: Kafka cannot be reached.
            LogUnfitError: A topic cannot be created.

        """
        wanted = {
            **dict.fromkeys(self._topics, _EVENT_CONFIG),
            self._settings.kafka_topic(DEAD_LETTERS): _DEAD_LETTER_CONFIG,
        }
        with self._admin() as admin:
            existing = {topic["name"] for topic in admin.describe_topics(list(wanted)) if not topic["error_code"]}
            missing = [name for name in wanted if name not in existing]
            for name in missing:
                options = {
                    "num_partitions": self._settings.partitions,
                    "replication_factor": self._settings.replication,
                    "configs": wanted[name],
                }
                try:
                    admin.create_topics({name: options}, wait_for_metadata=True)
                except TopicAlreadyExistsError:
                    continue  # another worker was quicker
                except InvalidReplicationFactorError as error:
                    raise LogUnfitError(
                        f"the topic {name} cannot have {self._settings.replication} replicas: Kafka has fewer brokers. Set "
                        "`replication` to at most their number."
                    ) from error
                except KafkaError as error:
                    raise LogUnfitError(f"the topic {name} cannot be created: {str(error)[:300]}") from error
        return missing

    def unfit_topics(self) -> tuple[list[str], list[str]]:
        """Say, a sentence each, which topics are missing, and which would forget events; both empty where all is well."""
        with self._admin() as admin:
            found = {topic["name"]: topic for topic in admin.describe_topics(list(self._topics))}
            missing = [name for name in self._topics if name not in found or found[name]["error_code"]]
            present = [name for name in self._topics if name not in missing]
            resources = [ConfigResource(ConfigResourceType.TOPIC, name, list(_EVENT_CONFIG)) for name in present]
            configs = admin.describe_configs(resources, config_filter="all")["topic"] if resources else {}
        return (
            [f"the topic {name} does not exist; `salesfx topics` creates it" for name in missing],
            [sentence for name in present for sentence in _unfit_settings(name, configs[name])],
        )

    def check_topics(self) -> None:
        """Refuse topics that would forget events, unless the settings allow them.

        Raises:
            LogUnfitError: With the commands that put it right.

        """
        missing, forgetful = self.unfit_topics()
        if missing:
            raise LogUnfitError("; ".join(missing))
        if forgetful and not self._settings.allow_retention:
            raise LogUnfitError(
                "; ".join(forgetful)
                + ". The log is what the tables are made from. Put it right with kafka-configs.sh, "
                "or accept it with allow_retention = true (SALESFX_ALLOW_RETENTION=true): a rebuild is then not complete."
            )

    def identity(self) -> dict[str, str]:
        """Tell the ids of the cluster and of each topic: `cluster`, and `topic:` with the topic's name."""
        with self._admin() as admin:
            ids = {CLUSTER: str(admin.describe_cluster()["cluster_id"])}
            for topic in admin.describe_topics(list(self._topics)):
                if not topic["error_code"]:
                    ids[f"topic:{self._topics[topic['name']]}"] = str(topic["topic_id"])
        return ids

    def ranges(self) -> dict[tuple[str, int], tuple[int, int]]:
        """Tell where each partition's log begins, and where its committed events end, by our name of the topic."""
        with self._admin() as admin:
            partitions = self._partitions(admin)
            begins = admin.list_partition_offsets(dict.fromkeys(partitions, _EARLIEST))
            ends = admin.list_partition_offsets(dict.fromkeys(partitions, _LATEST), isolation_level=_READ_COMMITTED)
        return {
            (self._topics[partition.topic], partition.partition): (begins[partition].offset, ends[partition].offset)
            for partition in partitions
        }

    def positions_at(self, moment: datetime) -> dict[tuple[str, int], int]:
        """Tell where in each partition the first record lies whose timestamp is not before a moment.

        Those without such a committed record are left out.
        """
        milliseconds = (moment - _EPOCH) // timedelta(milliseconds=1)
        with self._admin() as admin:
            asked = dict.fromkeys(self._partitions(admin), milliseconds)
            found = admin.list_partition_offsets(asked, isolation_level=_READ_COMMITTED) if asked else {}
        return {
            (self._topics[partition.topic], partition.partition): first.offset
            for partition, first in found.items()
            if first.offset >= 0
        }

    def _partitions(self, admin: Any) -> list[Any]:
        found = [topic for topic in admin.describe_topics(list(self._topics)) if not topic["error_code"]]
        return [
            TopicPartition(topic["name"], part["partition_index"]) for topic in found for part in topic["partitions"]
        ]

    @contextmanager
    def _admin(self) -> Iterator[Any]:
        with reaching_kafka(self._settings), ExitStack() as stack:
            admin = KafkaAdminClient(
                **kafka_python_options(self._settings),
                client_id="salesfx-admin",
                request_timeout_ms=int(REQUEST_SECONDS * 1000),
                bootstrap_timeout_ms=int(REQUEST_SECONDS * 1000),
            )
            stack.callback(admin.close)
            yield admin


def check_identity(stored: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Compare the log that the stored offsets belong to with the one that Kafka has.

    Raises:
        OtherLogError: They differ; a topic was deleted and made again, or it is another cluster.

    """
    for name, identity in stored.items():
        if name in found and found[name] != identity:
            what = (
                "is another cluster" if name == CLUSTER else f"has another {name.replace(':', ' ')}, made again since"
            )
            raise OtherLogError(
                f"Kafka {what} (id {found[name]}, the tables were made from {identity}): the stored offsets mean nothing "
                "in it, and events would be lost without a word. Point salesfx back at the old one, or set `namespace` "
                "to a new name: its tables are then made from this log from the beginning."
            )


def _unfit_settings(name: str, config: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for setting, wanted in _EVENT_CONFIG.items():
        value = config.get(setting, {}).get("value")
        if value is not None and value != wanted:
            yield f"the topic {name} has {setting}={value}, not {wanted}: {_REMEDY[setting]}"
