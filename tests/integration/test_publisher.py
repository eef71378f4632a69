"""Publishing to a real Kafka: what arrives, and what is raised when it does not."""

import json
import os
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from salesfx import publisher as publisher_module
from salesfx.cli.import_ import import_
from salesfx.cli.publish import MAX_LINE, publish
from salesfx.decoder import decode
from salesfx.errors import NeedsAttentionError, SalesfxError
from salesfx.events import TOPICS, DealClosed, LeadCreated, QuoteSent
from salesfx.kafka_log import KafkaAwayError, KafkaLog
from salesfx.kafka_security import kafka_python_options, ssl_context
from salesfx.local import LocalServers
from salesfx.publisher import DeliveryError, InvalidEventError, Publisher
from salesfx.settings import Settings, SettingsError

NOON = datetime(2026, 10, 5, 12, tzinfo=timezone(timedelta(hours=3)))


@pytest.fixture
def settings(kafka: str, namespace: str) -> Settings:
    """Topics of this test's own, on the session's Kafka."""
    own = Settings(kafka=kafka, topic_prefix=namespace + ".")
    KafkaLog(own).ensure_topics()
    return own


def lead(number: int, **more: Any) -> bytes:
    """Make a lead_created as JSON."""
    return msgspec.json.encode(
        {"event_id": f"e{number}", "lead_id": f"L{number}", "occurred_at": "2026-10-05T09:00:00Z", **more}
    )


def records(settings: Settings, topic: str) -> list[Any]:
    """Read a whole topic: its records, partition after partition."""
    name = settings.kafka_topic(topic)
    consumer = KafkaConsumer(bootstrap_servers=settings.kafka, auto_offset_reset="earliest", consumer_timeout_ms=10_000)
    try:
        partitions = [TopicPartition(name, number) for number in sorted(consumer.partitions_for_topic(name))]
        consumer.assign(partitions)
        expected = sum(consumer.end_offsets(partitions).values())
        found = [next(consumer) for _ in range(expected)]
    finally:
        consumer.close()
    return sorted(found, key=lambda record: (record.partition, record.offset))


@pytest.fixture(scope="module")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, int]]:
    """Start a Kafka that may be stopped: its settings and its pid."""
    with LocalServers(tmp_path_factory.mktemp("own") / "data", redis=False) as servers:
        own = Settings(kafka=servers.kafka)
        KafkaLog(own).ensure_topics()
        pid = servers.kafka_process.pid
        assert pid is not None
        yield own, pid


def publish_and_wait(publisher: Publisher, value: bytes) -> None:
    """Publish one lead and see it acknowledged."""
    publisher.send_json("lead_created", value)
    publisher.flush()


class TestDelivery:
    """What a CRM hands over arrives as it is."""

    def test_events_arrive_keyed_by_their_entity_and_the_worker_can_read_them(self, settings: Settings) -> None:
        """One of each kind, with everything that Python types could get wrong."""
        with Publisher(settings) as publisher:
            publisher.send(LeadCreated(event_id="1", lead_id="Л-1", occurred_at=NOON, source="web"))
            publisher.send(
                QuoteSent(
                    event_id="2", quote_id="Q", occurred_at=NOON, amount=Decimal("1.15E+3"), currency="EUR", need="crm"
                )
            )
            publisher.send(DealClosed(event_id="3", deal_id="D", occurred_at=NOON, retracted=True))
        (sent_lead,), (quote,), (deal,) = (records(settings, topic) for topic in TOPICS)
        assert json.loads(sent_lead.value) == {
            "event_id": "1",
            "lead_id": "Л-1",
            "occurred_at": "2026-10-05T12:00:00+03:00",
            "source": "web",
        }
        assert json.loads(quote.value)["amount"] == "1150"
        assert json.loads(deal.value)["retracted"] is True
        for topic, record in zip(TOPICS, (sent_lead, quote, deal), strict=True):
            assert decode(topic, record.value).message_key.encode() == record.key

    def test_json_goes_out_byte_by_byte_with_its_headers(self, settings: Settings) -> None:
        """Also where the envelope carries what the event lacks."""
        value = b'{ "lead_id":"L1", "unknown": 1.10 }'
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_id", b"x"),
            ("ce_time", b"2026-10-05T09:00:00Z"),
            ("ce_source", b"/crm"),
        ]
        with Publisher(settings) as publisher:
            publisher.send_json("lead_created", value, headers)
        (record,) = records(settings, "lead_created")
        assert (record.key, record.value, record.headers) == (b"L1", value, headers)

    def test_the_events_of_one_entity_stay_in_order(self, settings: Settings) -> None:
        """They share a partition, and nothing overtakes, although several batches are under way."""
        with Publisher(settings) as publisher:
            for revision in range(3000):
                for number in range(3):
                    publisher.send_json("lead_created", lead(number, revision=revision, source="x" * 60))
        found: dict[bytes, list[int]] = {}
        partitions: dict[bytes, set[int]] = {}
        for record in records(settings, "lead_created"):
            found.setdefault(record.key, []).append(json.loads(record.value)["revision"])
            partitions.setdefault(record.key, set()).add(record.partition)
        assert found == {key: list(range(3000)) for key in (b"L0", b"L1", b"L2")}
        assert all(len(numbers) == 1 for numbers in partitions.values())

    def test_threads_may_share_a_publisher(self, settings: Settings) -> None:
        """Nothing is lost, and flushing in between harms nobody."""
        with Publisher(settings) as publisher:

            def work(first: int) -> None:
                for number in range(first, first + 500):
                    publisher.send_json("lead_created", lead(number))
                    if number % 100 == 0:
                        publisher.flush()

            threads = [threading.Thread(target=work, args=(first,)) for first in range(0, 2000, 500)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert {record.key for record in records(settings, "lead_created")} == {
            b"L%d" % number for number in range(2000)
        }

    def test_what_is_not_acknowledged_yet_is_bounded(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        """kafka-python's own buffer would grow without end."""
        monkeypatch.setattr(publisher_module, "MAX_PENDING_EVENTS", 50)
        with Publisher(settings) as publisher:
            for number in range(2000):
                publisher.send_json("lead_created", lead(number))
                assert len(publisher._pending) <= 50
        assert len(records(settings, "lead_created")) == 2000

    def test_the_bytes_of_large_events_are_bounded(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        """The largest events are accepted, few at a time."""
        monkeypatch.setattr(publisher_module, "MAX_PENDING_BYTES", 200_000)
        with Publisher(settings) as publisher:
            for number in range(30):
                publisher.send_json("lead_created", lead(number, note="x" * 65_000))
                assert publisher._pending_bytes <= 200_000
        assert len(records(settings, "lead_created")) == 30


class TestRefusals:
    """What the worker would refuse is raised at the call, and not sent."""

    @pytest.mark.parametrize(
        ("topic", "fields", "words"),
        [
            ("lead_created", {"lead_id": "1", "occurred_at": NOON}, "missing_field: event_id: absent, null or blank"),
            (
                "lead_created",
                {"event_id": "1", "lead_id": "1", "occurred_at": NOON.replace(tzinfo=None)},
                "invalid_field: occ",
            ),
            (
                "deal_closed",
                {"event_id": "1", "deal_id": "1", "occurred_at": NOON, "outcome": "Won"},
                "invalid_field: outcome",
            ),
            ("lead", {"event_id": "1"}, "topic: 'lead' is none of lead_created, quote_sent, deal_closed"),
            ("lead_created", {"event_id": object()}, "not_json: Encoding objects of type object is unsupported"),
            (
                "deal_closed",
                {
                    "event_id": "1",
                    "deal_id": "1",
                    "occurred_at": NOON,
                    "outcome": "won",
                    "currency": "EUR",
                    "amount": 0.1 + 0.2,
                },
                "amount: 0.30000000000000004 is a binary float",
            ),
            (
                "deal_closed",
                {
                    "event_id": "1",
                    "deal_id": "1",
                    "occurred_at": NOON,
                    "outcome": "won",
                    "currency": "EUR",
                    "amount": Decimal("nan"),
                },
                "invalid_field: amount: '\"NaN\"'",
            ),
        ],
    )
    def test_an_invalid_event_is_not_sent(
        self, settings: Settings, topic: str, fields: dict[str, Any], words: str
    ) -> None:
        """The error names the field; the publisher can be used on."""
        with Publisher(settings) as publisher:
            with pytest.raises(InvalidEventError) as raised:
                publisher.send_dict(topic, fields)
            publisher.send_json("lead_created", lead(1))
        assert words in str(raised.value)
        assert [record.key for name in TOPICS for record in records(settings, name)] == [b"L1"]

    def test_a_missing_topic_is_named_at_once_and_not_created(self, kafka: str, namespace: str) -> None:
        """A producer alone would wait for it for a minute."""
        own = Settings(kafka=kafka, topic_prefix=namespace + ".")
        with Publisher(own) as publisher:
            started = time.monotonic()
            with pytest.raises(NeedsAttentionError, match=rf"has no topic {namespace}\.lead_created.*salesfx topics"):
                publisher.send_json("lead_created", lead(1))
            assert time.monotonic() - started < 5
            admin = KafkaAdminClient(bootstrap_servers=kafka)
            there = admin.list_topics()
            admin.close()
            assert own.kafka_topic("lead_created") not in there
            KafkaLog(own).ensure_topics()
            publisher.send_json("lead_created", lead(1))
        assert len(records(own, "lead_created")) == 1

    def test_a_closed_publisher_says_so(self, settings: Settings) -> None:
        """Closing twice is harmless."""
        publisher = Publisher(settings)
        publisher.close()
        publisher.close()
        with pytest.raises(SalesfxError, match="closed"):
            publisher.send_json("lead_created", lead(1))


class TestKafkaAway:
    """Nothing that was accepted is lost without a word."""

    @pytest.mark.slow
    def test_what_kafka_does_not_acknowledge_is_raised_and_the_publisher_recovers(
        self, own_kafka: tuple[Settings, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """kafka-python itself would wait for a Kafka that hangs until it is back."""
        monkeypatch.setattr(publisher_module, "_CONNECT_SECONDS", 2)
        own, pid = own_kafka
        publisher = Publisher(own, delivery_timeout=3)
        publisher.send_json("lead_created", lead(0))
        publisher.flush()
        os.kill(pid, signal.SIGSTOP)
        try:
            for number in range(1, 31):
                publisher.send_json("lead_created", lead(number))
            started = time.monotonic()
            with pytest.raises(DeliveryError, match="did not acknowledge 30 events") as raised:
                publisher.flush()
            assert 2 < time.monotonic() - started < 10
            assert raised.value.count == 30
            assert [event.key for event in raised.value.undelivered] == [f"L{number}" for number in range(1, 21)]
            with pytest.raises(SalesfxError, match=r"lead_created L31|cannot use Kafka"):
                publish_and_wait(publisher, lead(31))
        finally:
            os.kill(pid, signal.SIGCONT)
        publisher.send_json("lead_created", lead(32))
        publisher.close()
        keys = [record.key for record in records(own, "lead_created")]
        assert b"L0" in keys
        assert b"L32" in keys

    @pytest.mark.slow
    def test_send_raises_what_failed_before(self, own_kafka: tuple[Settings, int]) -> None:
        """A CRM that never flushes hears of it with its next event, and of every one of them."""
        own, pid = own_kafka
        publisher = Publisher(own, delivery_timeout=2)
        publisher.send_json("lead_created", lead(0))
        publisher.flush()
        os.kill(pid, signal.SIGSTOP)
        try:
            for number in range(100, 110):
                publisher.send_json("lead_created", lead(number))
            time.sleep(3)
            failed = 0
            while failed < 10:
                with pytest.raises(DeliveryError) as raised:
                    publisher.send_json("lead_created", lead(200))
                failed += raised.value.count
        finally:
            os.kill(pid, signal.SIGCONT)
            publisher.close()
        assert failed == 10

    @pytest.mark.slow
    def test_an_error_on_its_way_is_not_replaced(self, own_kafka: tuple[Settings, int]) -> None:
        """What was not delivered is noted on it."""
        own, pid = own_kafka

        def crm() -> None:
            with Publisher(own, delivery_timeout=2) as publisher:
                publisher.send_json("lead_created", lead(0))
                publisher.flush()
                os.kill(pid, signal.SIGSTOP)
                publisher.send_json("lead_created", lead(300))
                raise RuntimeError("the CRM's own")

        try:
            with pytest.raises(RuntimeError, match="the CRM's own") as raised:
                crm()
        finally:
            os.kill(pid, signal.SIGCONT)
        assert (
            "did not acknowledge 1 event (no acknowledgement within 2 s): lead_created L300"
            in raised.value.__notes__[0]
        )

    def test_a_kafka_that_is_not_there_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the reason that kafka-python only logs."""
        monkeypatch.setattr(publisher_module, "_CONNECT_SECONDS", 1)
        with pytest.raises(KafkaAwayError, match=r"cannot use Kafka at 127\.0\.0\.1:9 \(PLAINTEXT\): .*ECONNREFUSED"):
            Publisher(Settings(), kafka="127.0.0.1:9")


class TestPublishCommand:
    """`salesfx publish`."""

    def run(self, settings: Settings, content: bytes, *options: str, file: str = "-") -> tuple[int, str, str]:
        """Run it on standard input: exit status, standard output, standard error."""
        result = CliRunner().invoke(publish, [file, *options], input=content, obj=settings)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    def test_good_lines_go_in_and_the_others_are_named(self, settings: Settings) -> None:
        """With their line numbers, empty and overlong lines counted; amounts keep their digits."""
        won = (
            b'{"topic":"deal_closed","event_id":"7","deal_id":"D","occurred_at":"2026-10-05T09:00:00Z",'
            b'"outcome":"won","amount":12345678.10,"currency":"EUR"}'
        )
        lines = [
            b'\xef\xbb\xbf{"topic":"lead_created",' + lead(1)[1:],
            b"",
            b"not json",
            b'{"topic":"leads"}',
            b'{"lead_id":"5"}',
            b'{"topic":"lead_created",' + lead(6, note="x" * (MAX_LINE * 3))[1:],
            won,
            b'{"topic":"lead_created",' + lead(8, salesperson="x" * 101)[1:],
            b'{"topic":"lead_created","note":"\xff"}',
            b'["topic"]',
            b'{"topic":"lead_created",' + lead(11)[1:],
        ]
        status, out, err = self.run(settings, b"\n".join(lines), "--json")
        summary = json.loads(out)
        assert status == 1
        assert (summary["published"], summary["refused"]) == (3, 7)
        named = {refusal["line"]: refusal["reason"] for refusal in summary["refusals"]}
        assert named == {
            3: "not_json",
            4: "invalid_field",
            5: "missing_field",
            6: "too_large",
            8: "invalid_field",
            9: "not_json",
            10: "not_json",
        }
        assert [line.split(":")[0] for line in err.splitlines()] == [f"line {number}" for number in named]
        assert "line 8: invalid_field: salesperson: has 101 characters; at most 100 are allowed" in err
        assert {record.key for record in records(settings, "lead_created")} == {b"L1", b"L11"}
        (deal,) = records(settings, "deal_closed")
        assert b'"amount":12345678.10' in deal.value
        assert b"topic" not in deal.value

    def test_a_file_without_fault_ends_with_0(self, settings: Settings, tmp_path: Path) -> None:
        """And the summary is a sentence."""
        file = tmp_path / "events.jsonl"
        file.write_bytes(b"".join(b'{"topic":"lead_created",' + lead(number)[1:] + b"\n" for number in range(1200)))
        status, out, err = self.run(settings, b"", file=str(file))
        assert (status, err) == (0, "")
        assert out.startswith("1,200 events published in ")
        assert len(records(settings, "lead_created")) == 1200


def test_an_import_publishes_the_same_bytes_again(settings: Settings, tmp_path: Path) -> None:
    """Rows that are refused stay out, and the second run adds no other event."""
    (tmp_path / "map.toml").write_text(
        '[event.lead]\ntopic = "lead_created"\nlead_id = "{id}"\noccurred_at = "{at}"\nsource = "fair"\n'
    )
    (tmp_path / "crm.csv").write_text("id,at\n1,2026-01-02\n2,2026-02-30\n3,2026-01-04\n")
    for _ in range(2):
        arguments = [str(tmp_path / "crm.csv"), "--map", str(tmp_path / "map.toml")]
        result = CliRunner().invoke(import_, arguments, obj=settings)
        assert result.exit_code == 1
        assert result.stderr == "row 3: at: '2026-02-30' is no day of the calendar, read as ISO\n"
    found = records(settings, "lead_created")
    assert sorted(record.key for record in found) == [b"1", b"1", b"3", b"3"]
    assert len({record.value for record in found}) == 2


class TestSecurity:
    """TLS and SASL options. No server is needed to see that nothing goes out in clear."""

    def test_sasl_over_tls_always_has_a_context_that_checks_the_server(self) -> None:
        """Without one aiokafka and Faust send the password in clear."""
        settings = Settings(kafka_security_protocol="SASL_SSL", kafka_username="crm", kafka_password="geheim")
        options = kafka_python_options(settings)
        context = options["ssl_context"]
        assert isinstance(context, ssl.SSLContext)
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
        assert context.protocol == ssl.PROTOCOL_TLS_CLIENT
        assert options["sasl_mechanism"] == "SCRAM-SHA-512"
        assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("crm", "geheim")

    def test_plaintext_has_neither(self) -> None:
        """Nor does a user name leak into it."""
        options = kafka_python_options(Settings(kafka=" a:1, b:2 ,[::1]:3"))
        assert options == {
            "bootstrap_servers": ["a:1", "b:2", "[::1]:3"],
            "security_protocol": "PLAINTEXT",
            "ssl_context": None,
        }

    def test_only_the_given_authorities_are_trusted(self, certificate: tuple[str, str]) -> None:
        """And a client certificate is loaded."""
        file, key = certificate
        context = ssl_context(
            Settings(kafka_security_protocol="SSL", kafka_ca_file=file, kafka_cert_file=file, kafka_key_file=key)
        )
        assert context is not None
        assert len(context.get_ca_certs()) == 1

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"kafka_ca_file": "/nowhere.pem"}, "kafka_ca_file /nowhere.pem cannot be used: "),
            ({"kafka_cert_file": "/nowhere.pem"}, "kafka_cert_file /nowhere.pem"),
            ({"kafka_key_file": "/nowhere.pem"}, "kafka_key_file is set without kafka_cert_file"),
            (
                {"kafka_security_protocol": "PLAINTEXT", "kafka_ca_file": "/ca.pem"},
                "kafka_ca_file is set, but .* has no TLS",
            ),
            ({"kafka": "kafka.example"}, "kafka: 'kafka.example' is not host:port"),
            ({"kafka": "kafka.example:99999"}, "is not host:port"),
            ({"kafka": " , "}, "kafka: there is no address"),
        ],
    )
    def test_what_cannot_be_used_is_named_by_its_setting(self, change: dict[str, str], words: str) -> None:
        """A certificate without TLS as well: somebody believes that TLS is on."""
        settings = msgspec.structs.replace(Settings(kafka_security_protocol="SSL"), **change)
        with pytest.raises(SettingsError, match=words):
            kafka_python_options(settings)

    def test_a_key_with_a_passphrase_is_refused_not_asked_for(
        self, tmp_path: Path, certificate: tuple[str, str]
    ) -> None:
        """A service has nobody at its terminal."""
        file, key = certificate
        locked = tmp_path / "locked.key"
        command = ["openssl", "pkcs8", "-topk8", "-in", key, "-out", str(locked), "-passout", "pass:secret"]
        subprocess.run(command, check=True, capture_output=True)
        settings = Settings(kafka_security_protocol="SSL", kafka_cert_file=file, kafka_key_file=str(locked))
        with pytest.raises(SettingsError, match="has a passphrase"):
            ssl_context(settings)

    @pytest.fixture
    def certificate(self, tmp_path: Path) -> tuple[str, str]:
        """Make a certificate and its key."""
        file, key = str(tmp_path / "own.pem"), str(tmp_path / "own.key")
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=own", "-days", "2"]
        try:
            subprocess.run([*command, "-keyout", key, "-out", file], check=True, capture_output=True)
        except FileNotFoundError:
            pytest.skip("there is no openssl command to make a certificate with")
        return file, key
