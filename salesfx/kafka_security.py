"""How Kafka is reached: addresses, TLS and SASL out of the settings, the same for every Kafka client that we use."""

import logging
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from salesfx.settings import Settings, SettingsError

_SERVER = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:,\[\]]+):(\d{1,5})")

_CONNECTION_LOST = re.compile(r"Connection lost: (.+)")


def bootstrap_servers(settings: Settings) -> list[str]:
    """Give Kafka's addresses, each `host:port`.

    Raises:
        SettingsError: `kafka` holds none, or something else.

    """
    servers = [server.strip() for server in settings.kafka.split(",") if server.strip()]
    for server in servers:
        match = _SERVER.fullmatch(server)
        if match is None or not 1 <= int(match[2]) <= 65535:  # noqa: PLR2004 - a TCP port
            raise SettingsError(f"kafka: {server!r} is not host:port")
    if not servers:
        raise SettingsError("kafka: there is no address; write it like kafka-1:9092,kafka-2:9092")
    return servers


def ssl_context(settings: Settings) -> ssl.SSLContext | None:
    """Make the TLS context for Kafka, which checks the server's certificate and its name.

    Returns:
        None only where the protocol has no TLS. SASL_SSL always has a context: without one aiokafka and Faust would
        send the password in clear.

    Raises:
        SettingsError: A certificate or key cannot be used, or is set where nothing would use it.

    """
    if not settings.kafka_security_protocol.endswith("SSL"):
        _refuse_unused(settings)
        return None
    context = _checking_context(settings.kafka_ca_file)
    if settings.kafka_key_file and not settings.kafka_cert_file:
        raise SettingsError("kafka_key_file is set without kafka_cert_file")
    if settings.kafka_cert_file:
        try:
            # Without the callback a key with a passphrase would ask for it on the terminal of a service.
            context.load_cert_chain(settings.kafka_cert_file, settings.kafka_key_file, password=_no_passphrase)
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"kafka_cert_file {settings.kafka_cert_file} and kafka_key_file {settings.kafka_key_file} "
                f"cannot be used: {error}"
            ) from error
    return context


def kafka_python_options(settings: Settings) -> dict[str, Any]:
    """Give the options for kafka-python's clients, and for aiokafka's, which are named alike.

    Raises:
        SettingsError: An address, a certificate or a key cannot be used.

    """
    options: dict[str, Any] = {
        "bootstrap_servers": bootstrap_servers(settings),
        "security_protocol": settings.kafka_security_protocol,
        "ssl_context": ssl_context(settings),
    }
    if settings.kafka_security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_username
        options["sasl_plain_password"] = settings.kafka_password
    return options


@contextmanager
def connection_troubles() -> Iterator[list[str]]:
    """Collect why connections fail meanwhile, each reason once.

    kafka-python tries again until its time is up, whatever the reason, and then raises that it could not connect. That
    a password is wrong or a certificate is not trusted it only logs.

    Yields:
        A list that fills.

    """
    reasons: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            match = _CONNECTION_LOST.search(record.getMessage())
            if match is not None and match[1] not in reasons:
                reasons.append(match[1])

    log, listener = logging.getLogger("kafka"), Listener()
    log.addHandler(listener)
    try:
        yield reasons
    finally:
        log.removeHandler(listener)


@contextmanager
def quiet_kafka_python() -> Iterator[None]:
    """Keep kafka-python's log off the terminal: what matters of it is raised, as a sentence."""
    log, silence = logging.getLogger("kafka"), logging.NullHandler()
    propagates = log.propagate
    log.propagate = False
    log.addHandler(silence)
    try:
        yield
    finally:
        log.removeHandler(silence)
        log.propagate = propagates


def _checking_context(ca_file: str | None) -> ssl.SSLContext:
    """Trust the authorities in the file and no other, or without one those that the system trusts."""
    try:
        # The purpose is the peer's: SERVER_AUTH makes a client's context, which checks the server.
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca_file or None)
    except OSError as error:  # an SSLError is one
        raise SettingsError(f"kafka_ca_file {ca_file} cannot be used: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase; give it without one, readable by this user only")


def _refuse_unused(settings: Settings) -> None:
    """Refuse certificates without TLS: somebody believes that it is on."""
    for name in ("kafka_ca_file", "kafka_cert_file", "kafka_key_file"):
        if getattr(settings, name):
            raise SettingsError(
                f"{name} is set, but kafka_security_protocol is {settings.kafka_security_protocol}, which has no TLS: "
                "set it to SSL or SASL_SSL, or remove the file"
            )
