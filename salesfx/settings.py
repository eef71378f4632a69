"""Settings: `salesfx.toml`, with `SALESFX_*` environment variables over it.

Every setting is a field of `Settings`; its name in the file is the field's name, in the environment `SALESFX_` and the
name in capitals. A secret may stand in a file of its own: `SALESFX_KAFKA_PASSWORD_FILE=/run/secrets/kafka`.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from salesfx.decoder import normalise_name
from salesfx.definitions import Definitions, Rate
from salesfx.errors import NeedsAttentionError
from salesfx.forgotten import Forgotten
from salesfx.forgotten_file import read_forgotten
from salesfx.lead_flow.closed_days import is_closed
from salesfx.refusal import Refused
from salesfx.rules import Rules
from salesfx.targets.lines import TargetLine, check_targets
from salesfx.targets.working_time import OfficeHours

DEFAULT_FILE = "salesfx.toml"
_PREFIX = "SALESFX_"
_SECRETS = ("kafka_password", "http_token")
_FILE_ONLY = {"rates", "source_aliases", "targets"}
_READ = "forgotten"
"""No setting: what a file that a setting names holds."""
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.+?)`")
_SERVICE_LINK = re.compile(r"SALESFX_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP)(_\w+)?)?)")
"""What Kubernetes sets by itself beside a service that is called salesfx."""
_STARS = "********"

_DEFAULTS = Definitions()
_HOLIDAYS_COUNTRY = "BG"

Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z")]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Days = Annotated[int, Meta(ge=0, le=36_500)]
AYear = Annotated[float, Meta(ge=0.01, le=365)]


class SettingsError(NeedsAttentionError):
    """A setting is missing, unknown or not usable."""


class RateSetting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of `[[rates]]`."""

    currency: Currency
    since: date
    per_euro: Annotated[str, Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?\Z")]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What salesfx was told: where its servers are, and what its numbers mean."""

    # What the numbers mean: see `salesfx.definitions`.
    timezone: str = _DEFAULTS.timezone
    currency: Currency = _DEFAULTS.currency
    rates: tuple[RateSetting, ...] = ()
    recipient_limit: Count = _DEFAULTS.recipient_limit
    coverage_days: Days = _DEFAULTS.coverage_days
    sales_cycle_days: Days = _DEFAULTS.sales_cycle_days
    source_aliases: dict[str, str] = {}
    forgotten_file: str | None = None
    """File with the list of names and ids that are withdrawn; `salesfx forget` writes it."""
    forgotten: Forgotten = Forgotten()
    """What is in it. Not to be set."""

    # Kafka.
    kafka: str = "127.0.0.1:9092"
    """Bootstrap servers, `host:port` separated by commas."""
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_username: str | None = None
    kafka_password: str | None = None
    kafka_ca_file: str | None = None
    kafka_cert_file: str | None = None
    kafka_key_file: str | None = None
    topic_prefix: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{0,100}\Z")] = ""
    """Put before the names of the topics, where a Kafka is shared."""
    group: str = "salesfx"
    """Consumer group of the workers, which share the partitions among them."""
    partitions: Annotated[int, Meta(ge=1, le=1000)] = 6
    """Partitions of a topic that salesfx creates."""
    replication: Annotated[int, Meta(ge=1, le=9)] = 1
    """Replicas of a topic that salesfx creates."""
    allow_retention: bool = False
    """Accept topics that forget events: a rebuild can then not be complete, but with an archive."""
    archive: str | None = None
    """Folder of the archive: what Kafka has forgotten of the log is read from there."""
    watchdog_seconds: Annotated[int, Meta(ge=5, le=3600)] = 60
    """A worker that has events to read and commits nothing for this long ends."""
    heartbeat_seconds: Annotated[int, Meta(ge=0, le=120)] = 60
    """How often a worker sends a heartbeat through each topic; 0: never, and nobody notices that nothing gets through."""

    # Redis.
    redis: str = "redis://127.0.0.1:6379/0"
    """URL of a Redis 6.2 or newer, or a Valkey; `rediss://` for TLS. May hold a password."""
    namespace: Annotated[str, Meta(pattern=r"^[a-z0-9_.-]{1,40}\Z")] = "salesfx"
    """First part, and hash tag, of every key."""

    # The alarm when lead flow drops.
    false_alarms_per_year: AYear = 1.0
    """How many there may be of the total where nothing changes; all sources together may have as many again."""
    holidays_country: str = _HOLIDAYS_COUNTRY
    """ISO 3166 code of the country, or part of one, whose public holidays are kept; empty for none."""
    closed_days: Annotated[tuple[str, ...], Meta(max_length=1000)] = ()
    """Further days on which nobody works: 2026-12-31, or 12-31 for every year."""

    # Targets, and how much of a month's working time is gone.
    targets: tuple[TargetLine, ...] = ()
    office_hours: str = "09:00-18:00"
    """Of a working day, in the business time zone: as these go by, the day does."""

    # HTTP.
    http_host: str = "127.0.0.1"
    http_port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    http_token: str | None = None
    """Bearer token asked for by whatever shows sales; needed beyond loopback."""
    http_public: bool = False
    """Show people's sales beyond loopback without a token."""

    # The wall.
    wall_salespeople: bool = True
    """Show salespeople side by side; without, the wall's document names none."""
    wall_celebrates_from: Annotated[int, Meta(ge=1, le=10**10)] | None = None
    """Value of a won deal, in units of the reporting currency, from which the wall stops for a moment; none: never."""

    @property
    def definitions(self) -> Definitions:
        """The part of the settings that decides numbers."""
        return Definitions(
            timezone=self.timezone,
            currency=self.currency,
            rates=tuple(Rate(currency=r.currency, since=r.since, per_euro=Decimal(r.per_euro)) for r in self.rates),
            recipient_limit=self.recipient_limit,
            coverage_days=self.coverage_days,
            sales_cycle_days=self.sales_cycle_days,
            source_aliases=self.source_aliases,
            forgotten=self.forgotten,
        )

    def with_definitions(self, definitions: Definitions) -> "Settings":
        """Give the same settings with others of those that decide numbers."""
        rates = tuple(
            RateSetting(currency=r.currency, since=r.since, per_euro=format(r.per_euro, "f")) for r in definitions.rates
        )
        named = {name: getattr(definitions, name) for name in Definitions.__struct_fields__}
        return msgspec.structs.replace(self, **{**named, "rates": rates})

    def kafka_topic(self, topic: str) -> str:
        """Name a topic as Kafka knows it."""
        return self.topic_prefix + topic

    def masked(self) -> dict[str, Any]:
        """Give every setting for showing, secrets replaced by stars."""
        shown: dict[str, Any] = msgspec.to_builtins(self)
        del shown[_READ]
        for name in _SECRETS:
            if shown[name]:
                shown[name] = _STARS
        shown["redis"] = masked_url(self.redis)
        return shown


def load_settings(file: Path | None = None, environ: Mapping[str, str] = os.environ, **overrides: Any) -> Settings:
    """Read the settings that are in force.

    Args:
        file: The TOML file; None takes `SALESFX_CONFIG`, else `salesfx.toml` in the working directory where it exists.
        environ: The environment, put over the file.
        overrides: Put over both: a local server's address, an option of the command line. None is no override.

    Raises:
        SettingsError: Something in them is unknown or unusable; the message names the setting.

    """
    values = _from_file(file, environ)
    values.update(_from_environment(environ))
    values.update({name: value for name, value in overrides.items() if value is not None})
    if _READ in values:
        raise SettingsError(f"there is no setting {_READ!r}; forgotten_file names a list that `salesfx forget` writes")
    if "closed_days" in values:
        values["closed_days"] = _days_as_text(values["closed_days"])
    try:
        settings = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(_in_words(error)) from None
    _check(settings)
    if settings.forgotten_file:
        forgotten = read_forgotten(Path(settings.forgotten_file)) or Forgotten()
        settings = msgspec.structs.replace(settings, forgotten=forgotten)
    return settings


def masked_url(url: str) -> str:
    """Replace the passwords in a Redis's URL by stars, for showing; all of it where it is no such URL."""
    if not _is_redis_url(url):
        return _STARS
    parts = urlsplit(url)
    credentials, at, host = parts.netloc.rpartition("@")
    user, colon, _ = credentials.partition(":")
    shown = f"{user if colon else ''}:{_STARS}@{host}" if at else host
    query = "&".join(
        f"{name}={_STARS if 'password' in name.lower() else value}"
        for name, _, value in (option.partition("=") for option in parts.query.split("&") if option)
    )
    return parts._replace(netloc=shown, query=query).geturl()


def _refuse_unknown_variables(environ: Mapping[str, str], names: set[str]) -> None:
    """Refuse a misspelt variable: it could change numbers by not changing them."""
    known = {_PREFIX + name.upper() for name in names} | {"SALESFX_CONFIG", "SALESFX_TEST_DATA"}
    known |= {f"{_PREFIX}{name.upper()}_FILE" for name in (*_SECRETS, "redis")}
    for variable in environ:
        if variable.startswith(_PREFIX) and variable not in known and not _SERVICE_LINK.fullmatch(variable):
            raise SettingsError(
                f"{variable} is no setting; docs/settings.md lists them ({', '.join(sorted(_FILE_ONLY))} stand in the file only)"
            )


def _in_words(error: msgspec.ValidationError) -> str:
    unknown = _UNKNOWN_FIELD.match(str(error))
    what = f"there is no setting {unknown[1]!r}" if unknown else f"a setting is not usable: {error}"
    return f"{what}; docs/settings.md lists every setting"


def _from_file(file: Path | None, environ: Mapping[str, str]) -> dict[str, Any]:
    named = file or (Path(environ["SALESFX_CONFIG"]) if environ.get("SALESFX_CONFIG") else None)
    path = named or Path(DEFAULT_FILE)
    if named is None and not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the settings in {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    names = {field.name for field in msgspec.structs.fields(Settings)} - _FILE_ONLY - {_READ}
    _refuse_unknown_variables(environ, names)
    values: dict[str, Any] = {}
    for name in names:
        variable = _PREFIX + name.upper()
        secret_file = environ.get(variable + "_FILE")
        if secret_file is not None and (name in _SECRETS or name == "redis"):
            try:
                values[name] = Path(secret_file).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise SettingsError(
                    f"{variable}_FILE names {secret_file}, which cannot be read: {error.strerror}"
                ) from error
            except UnicodeDecodeError:
                raise SettingsError(f"{variable}_FILE names {secret_file}, which is not text in UTF-8") from None
        if variable in environ:
            values[name] = environ[variable]
    return values


def _days_as_text(days: Any) -> Any:
    """Write days as text: TOML has dates, and the environment one string with commas."""
    if isinstance(days, str):
        return [day.strip() for day in days.split(",") if day.strip()]
    return [str(day) if isinstance(day, date) else day for day in days] if isinstance(days, list | tuple) else days


def _check(settings: Settings) -> None:
    try:
        ZoneInfo(settings.timezone)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise SettingsError(
            f"timezone: there is no time zone {settings.timezone!r}; write it like Europe/Sofia"
        ) from None
    for rate in settings.rates:
        if rate.currency in {"EUR", "BGN"}:
            raise SettingsError(f"rates: {rate.currency} is fixed and built in; remove its line")
        if Decimal(rate.per_euro) == 0:
            raise SettingsError(f"rates: {rate.currency} since {rate.since} is 0 per euro")
    if len({(rate.currency, rate.since) for rate in settings.rates}) < len(settings.rates):
        raise SettingsError("rates: two lines have the same currency and date")
    _check_aliases(settings.source_aliases)
    try:
        OfficeHours.parse(settings.office_hours)
        check_targets(settings.targets)
        if (settings.holidays_country, settings.closed_days) != (_HOLIDAYS_COUNTRY, ()):  # the default takes no look
            is_closed(settings.holidays_country, settings.closed_days)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    if not _is_redis_url(settings.redis):
        raise SettingsError(
            "redis: is not the URL of a Redis, like redis://:PASSWORD@127.0.0.1:6379/0, rediss://HOST:PORT/0 or "
            "unix:///PATH; in a password, write / ? # @ : and % as %2F %3F %23 %40 %3A %25"
        )
    if settings.kafka_security_protocol.startswith("SASL") and not (
        settings.kafka_username and settings.kafka_password
    ):
        raise SettingsError(
            f"kafka_security_protocol is {settings.kafka_security_protocol}: set kafka_username, and SALESFX_KAFKA_PASSWORD "
            "or SALESFX_KAFKA_PASSWORD_FILE"
        )


def _check_aliases(aliases: Mapping[str, str]) -> None:
    """Refuse aliases of which it depends on their order what they mean, and names that no source can have."""
    folded = Rules(Definitions()).source
    meanings: dict[str, str] = {}
    for name, alias in aliases.items():
        try:
            usable = [normalise_name(text, "source_aliases") for text in (name, alias)]
        except Refused as refused:
            raise SettingsError(refused.detail) from None
        if None in usable:
            raise SettingsError(f"source_aliases: {name!r} stands for {alias!r}; neither may be blank")
        if meanings.setdefault(folded(name), folded(alias)) != folded(alias):
            raise SettingsError(
                f"source_aliases: {name!r} is there twice, up to capitals and spaces, and means two things"
            )


def _is_redis_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        usable_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    if parts.fragment or "@" in parts.path + parts.query:  # the rest of a password that is not escaped
        return False
    if parts.scheme == "unix":
        return bool(parts.path)
    return parts.scheme in {"redis", "rediss"} and bool(parts.hostname) and usable_port
