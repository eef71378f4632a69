"""Where settings come from, what is refused, and that no secret is ever shown."""

import traceback
from datetime import date
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from salesfx.definitions import Definitions, Rate
from salesfx.lead_flow.closed_days import is_closed
from salesfx.settings import Settings, SettingsError, load_settings, masked_url

SECRET = "hunter2-Zq"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Name a file for settings, outside the working directory."""
    return tmp_path / "settings.toml"


def loaded(file: Path, toml: str = "", **environ: str) -> Settings:
    """Load settings from a file of this text, and from variables named without their prefix."""
    file.write_text(toml, encoding="utf-8")
    return load_settings(file, {f"SALESFX_{name}": value for name, value in environ.items()})


def refusal(file: Path, toml: str = "", **environ: str) -> str:
    """Give the text of the error that these settings end in, with all that led to it."""
    with pytest.raises(SettingsError) as error:
        loaded(file, toml, **environ)
    assert SECRET not in "".join(traceback.format_exception(error.value))
    return str(error.value)


# Where they come from.


def test_the_defaults_need_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no file and no variables every setting is its default."""
    monkeypatch.chdir(tmp_path)
    assert load_settings(environ={}) == Settings()
    assert load_settings(environ={"SALESFX_CONFIG": ""}) == Settings()


def test_the_file_in_the_working_directory_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """salesfx.toml counts where no other file is named; one in SALESFX_CONFIG, then one that is given, comes before it."""
    (tmp_path / "salesfx.toml").write_text("recipient_limit = 1")
    (tmp_path / "two.toml").write_text("recipient_limit = 2")
    (tmp_path / "three.toml").write_text("recipient_limit = 3")
    monkeypatch.chdir(tmp_path)
    environ = {"SALESFX_CONFIG": str(tmp_path / "two.toml")}
    assert load_settings(environ={}).recipient_limit == 1
    assert load_settings(environ=environ).recipient_limit == 2
    assert load_settings(tmp_path / "three.toml", environ).recipient_limit == 3


def test_variables_come_before_the_file_and_overrides_before_both(file: Path) -> None:
    """Each setting by itself; an override of None is none."""
    file.write_text('recipient_limit = 1\ncoverage_days = 1\nsales_cycle_days = 1\ngroup = "file"')
    environ = {"SALESFX_COVERAGE_DAYS": "2", "SALESFX_SALES_CYCLE_DAYS": "2", "SALESFX_GROUP": "environment"}
    settings = load_settings(file, environ, sales_cycle_days=3, group=None)
    assert (settings.recipient_limit, settings.coverage_days, settings.sales_cycle_days) == (1, 2, 3)
    assert settings.group == "environment"


def test_variables_are_read_as_the_type_of_their_setting(file: Path) -> None:
    """Numbers and truth values are written as text there; other variables are not ours."""
    settings = loaded(file, HTTP_PORT="9000", HTTP_PUBLIC="true", ALLOW_RETENTION="0", TIMEZONE="UTC", SERVICE_HOST="x")
    assert (settings.http_port, settings.http_public, settings.allow_retention) == (9000, True, False)
    assert settings.timezone == "UTC"


@pytest.mark.parametrize("name", ["kafka_password", "http_token", "redis"])
def test_a_secret_may_stand_in_a_file(file: Path, tmp_path: Path, name: str) -> None:
    """The file's end of line is no part of it; it comes before the settings' file, and the variable itself before it."""
    kept, own = (f"redis://:{password}@h/0" if name == "redis" else password for password in (SECRET, "direct"))
    secret = tmp_path / "secret"
    secret.write_text(kept + "\n")
    variable = f"{name.upper()}_FILE"
    assert getattr(loaded(file, f'{name} = "{own}"', **{variable: str(secret)}), name) == kept
    assert getattr(loaded(file, **{variable: str(secret), name.upper(): own}), name) == own


def test_a_secrets_file_that_cannot_be_read_is_named(file: Path, tmp_path: Path) -> None:
    """Missing, or not text: the error names the variable and the file."""
    missing, binary = tmp_path / "missing", tmp_path / "binary"
    binary.write_bytes(SECRET.encode() + b"\xff")
    assert f"SALESFX_KAFKA_PASSWORD_FILE names {missing}" in refusal(file, KAFKA_PASSWORD_FILE=str(missing))
    assert f"SALESFX_HTTP_TOKEN_FILE names {binary}" in refusal(file, HTTP_TOKEN_FILE=str(binary))


def test_closed_days_are_dates_or_text(file: Path) -> None:
    """As TOML writes dates, as text, and in the environment with commas between them."""
    assert loaded(file, 'closed_days = [2026-12-31, "12-24"]').closed_days == ("2026-12-31", "12-24")
    assert loaded(file, "closed_days = [2026-12-31]", CLOSED_DAYS="2027-01-04, 12-24").closed_days == (
        "2027-01-04",
        "12-24",
    )
    assert loaded(file, "closed_days = [2026-12-31]", CLOSED_DAYS="").closed_days == ()


def test_the_holidays_of_the_default_are_known() -> None:
    """No start looks it up, so this does."""
    assert is_closed(Settings().holidays_country, Settings().closed_days)(date(2026, 3, 3))


def test_no_country_is_no_error(file: Path) -> None:
    """Whoever works on holidays says so."""
    assert loaded(file, HOLIDAYS_COUNTRY="").holidays_country == ""


# What is refused.


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    """Whoever names a file does not want the defaults."""
    missing = tmp_path / "missing.toml"
    with pytest.raises(SettingsError, match=r"missing\.toml: No such file"):
        load_settings(missing, {})
    with pytest.raises(SettingsError, match=r"missing\.toml: No such file"):
        load_settings(environ={"SALESFX_CONFIG": str(missing)})


def test_a_file_that_is_not_toml_is_named(file: Path) -> None:
    """With the place in it, where there is one."""
    assert "settings.toml is not valid TOML: " in refusal(file, "recipient_limit = = 1")
    assert "line 1" in refusal(file, "recipient_limit = = 1")
    file.write_bytes(b'group = "\xff"')
    with pytest.raises(SettingsError, match=r"settings\.toml is not valid TOML"):
        load_settings(file, {})


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ("recipient_limt = 10", "recipient_limt"),
        ('[[rates]]\ncurrency = "USD"\nsince = 2026-01-01\nper_euro = "1.1"\nsource = "ECB"', "source"),
        ("recipient_limit = 0", "recipient_limit"),
        ('recipient_limit = "many"', "recipient_limit"),
        ("coverage_days = -1", "coverage_days"),
        ("sales_cycle_days = 40000", "sales_cycle_days"),
        ('currency = "euro"', "currency"),
        ("http_port = 65536", "http_port"),
        ('http_public = "perhaps"', "http_public"),
        ('kafka_security_protocol = "sasl"', "kafka_security_protocol"),
        ('kafka_sasl_mechanism = "GSSAPI"', "kafka_sasl_mechanism"),
        ('namespace = "Sales fx"', "namespace"),
        ('namespace = "{a}"', "namespace"),
        ("watchdog_seconds = 1", "watchdog_seconds"),
        ("false_alarms_per_year = 0", "false_alarms_per_year"),
        ("false_alarms_per_year = nan", "false_alarms_per_year"),
        ("false_alarms_per_year = inf", "false_alarms_per_year"),
        ('holidays_country = "XX"', "holidays_country"),
        ('holidays_country = "Bulgaria"', "holidays_country"),
        ("holidays_country = 1", "holidays_country"),
        ("closed_days = [2026-12-31T00:00:00]", "closed_days"),
        ('closed_days = ["02-30"]', "closed_days"),
        ("closed_days = [1]", "closed_days"),
        ("closed_days = 1", "closed_days"),
        (f"closed_days = {['12-31'] * 1001}", "closed_days"),
        ("redis = 6379", "redis"),
        ("kafka_password = 12345", "kafka_password"),
        ("source_aliases = { www = 1 }", "source_aliases"),
        ('[[rates]]\ncurrency = "USD"\nsince = "soon"\nper_euro = "1.1"', "rates"),
        ('[[rates]]\ncurrency = "USD"\nsince = 2026-01-01\nper_euro = 1.1', "per_euro"),
        ('[[rates]]\ncurrency = "USD"\nsince = 2026-01-01\nper_euro = "-1.1"', "per_euro"),
        ('[[rates]]\ncurrency = "USD"\nper_euro = "1.1"', "since"),
    ],
)
def test_a_setting_that_is_unknown_or_unusable_is_named(file: Path, toml: str, named: str) -> None:
    """The error says which one it is."""
    assert named in refusal(file, toml)


def test_a_variable_that_is_unusable_is_named(file: Path) -> None:
    """By the name of its setting."""
    assert "http_port" in refusal(file, HTTP_PORT="")
    assert "recipient_limit" in refusal(file, RECIPIENT_LIMIT="ten")
    assert "holidays_country" in refusal(file, HOLIDAYS_COUNTRY="XX")
    assert "closed_days" in refusal(file, CLOSED_DAYS="12-24;12-31")


@pytest.mark.parametrize("timezone", ["Europe/Nowhere", "Sofia", "", "Europe", "/etc/passwd", "../UTC", "a\\u0000b"])
def test_a_time_zone_that_does_not_exist_is_refused(file: Path, timezone: str) -> None:
    """With a word on how one is written."""
    assert "timezone: there is no time zone" in refusal(file, f'timezone = "{timezone}"')


def _rates(*lines: tuple[str, str, str]) -> str:
    return "\n".join(
        f'[[rates]]\ncurrency = "{currency}"\nsince = {since}\nper_euro = "{per_euro}"'
        for currency, since, per_euro in lines
    )


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([("EUR", "2026-01-01", "1")], "EUR is fixed"),
        ([("BGN", "2026-01-01", "1.95583")], "BGN is fixed"),
        ([("USD", "2026-01-01", "0.00")], "USD since 2026-01-01 is 0"),
        ([("USD", "2026-01-01", "1.1"), ("USD", "2026-01-01", "1.2")], "two lines"),
    ],
)
def test_a_rate_that_says_nothing_or_two_things_is_refused(
    file: Path, lines: list[tuple[str, str, str]], why: str
) -> None:
    """One line a currency and date, for currencies without a fixed rate, above 0."""
    assert why in refusal(file, _rates(*lines))


@pytest.mark.parametrize(
    ("aliases", "why"),
    [
        ('{ WWW = "web", www = "fair" }', "'www' is there twice"),
        ('{ "www " = "web", www = "fair" }', "means two things"),
        ('{ www = " " }', "may be blank"),
        ('{ "" = "web" }', "may be blank"),
        ('{ www = "w\\u0001" }', "control character"),
        ('{ www = "' + "w" * 101 + '" }', "101 characters"),
    ],
)
def test_an_alias_that_says_nothing_or_two_things_is_refused(file: Path, aliases: str, why: str) -> None:
    """Its meaning would hang on the order of lines, which is no part of the fingerprint; or no source could have it."""
    message = refusal(file, f"source_aliases = {aliases}")
    assert "source_aliases" in message
    assert why in message


def test_an_alias_may_be_written_twice_alike(file: Path) -> None:
    """Two spellings of a name with one meaning leave no doubt."""
    assert loaded(file, 'source_aliases = { WWW = "web", www = "Web" }').source_aliases == {"WWW": "web", "www": "Web"}


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_sasl_needs_a_name_and_a_password(file: Path, protocol: str) -> None:
    """The error says which settings are missing, and how the password may be given."""
    for missing in ({}, {"KAFKA_USERNAME": "u"}, {"KAFKA_PASSWORD": SECRET}):
        message = refusal(file, KAFKA_SECURITY_PROTOCOL=protocol, **missing)
        assert "kafka_username" in message
        assert "SALESFX_KAFKA_PASSWORD_FILE" in message
    both = loaded(file, KAFKA_SECURITY_PROTOCOL=protocol, KAFKA_USERNAME="u", KAFKA_PASSWORD=SECRET)
    assert both.kafka_password == SECRET


@pytest.mark.parametrize(
    "url",
    [
        "",
        SECRET,
        "127.0.0.1:6379",
        f":{SECRET}@host:6379",
        f"http://:{SECRET}@host",
        f"redis://:{SECRET}/x@host:6379/0",
        f"redis://:{SECRET}?x@host:6379/0",
        f"redis://:{SECRET}#x@host:6379/0",
        f"redis://:12/{SECRET}@host",
        f"redis://:{SECRET}@host:port/0",
        f"redis://:{SECRET}@host:99999/0",
        f"redis://:{SECRET}@[::1/0",
        f"redis://:{SECRET}@",
        "redis://",
        "unix://",
    ],
)
def test_what_is_not_the_url_of_a_redis_is_refused_without_showing_it(file: Path, url: str) -> None:
    """The error names the setting and how a URL is written, also where a character of its password is not escaped."""
    assert refusal(file, REDIS=url).startswith("redis: is not the URL of a Redis")
    assert refusal(file, f'redis = "{url}"').startswith("redis: is not the URL of a Redis")
    assert SECRET not in masked_url(url)


@pytest.mark.parametrize(
    "toml",
    [
        f'kafka_password = "{SECRET}\nrecipient_limit = 1',
        f"kafka_password = {SECRET}",
        f'kafka_password "{SECRET}"',
        f'kafka_password = "{SECRET}"\nkafka_password = "{SECRET}"',
        f'kafka_password = ["{SECRET}"]',
        f'kafka_password = {{ value = "{SECRET}" }}',
        f'kafka_password = "{SECRET}"\nunknown = 1',
        f'kafka_password = "{SECRET}"\nrecipient_limit = 0',
        f'redis = ["redis://:{SECRET}@host"]',
        f'http_token = ["{SECRET}"]',
    ],
)
def test_no_error_shows_a_secret(file: Path, toml: str) -> None:
    """Whatever is wrong in the file or beside them; `refusal` looks at all that would be printed."""
    assert refusal(file, toml)


# What they are.


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        (f"redis://:{SECRET}@127.0.0.1:6379/0", "redis://:********@127.0.0.1:6379/0"),
        (f"rediss://worker:{SECRET}@redis.example:6380", "rediss://worker:********@redis.example:6380"),
        (f"redis://{SECRET}@host", "redis://:********@host"),
        (f"redis://:{SECRET}%40%2F@[::1]:6379/1?db=2", "redis://:********@[::1]:6379/1?db=2"),
        (f"redis://:a:{SECRET}@host", "redis://:********@host"),
        (f"redis://host/0?password={SECRET}&db=1", "redis://host/0?password=********&db=1"),
        (f"rediss://host?ssl_password={SECRET}", "rediss://host?ssl_password=********"),
        (f"unix://:{SECRET}@/run/redis.sock?db=1", "unix://:********@/run/redis.sock?db=1"),
    ],
)
def test_the_password_of_redis_is_never_shown(file: Path, url: str, shown: str) -> None:
    """Wherever in the URL it stands; the rest is left for people to read, and the setting itself is as written."""
    settings = loaded(file, REDIS=url)
    assert settings.redis == url
    assert settings.masked()["redis"] == shown == masked_url(url)


def test_secrets_are_masked_and_nothing_else_is(file: Path) -> None:
    """Every setting is shown; of a secret only whether there is one, not how long it is."""
    settings = loaded(file, KAFKA_PASSWORD=SECRET, HTTP_TOKEN="t", KAFKA_USERNAME="u")
    shown = settings.masked()
    # What the file holds that `forgotten_file` names is no setting, and has a key.
    assert shown.keys() == {field.name for field in msgspec.structs.fields(Settings)} - {"forgotten"}
    assert (shown["kafka_password"], shown["http_token"]) == ("********", "********")
    assert (shown["kafka_username"], shown["http_port"], shown["kafka_ca_file"]) == ("u", 8000, None)
    assert SECRET not in str(shown)
    assert (Settings().masked()["kafka_password"], Settings().masked()["http_token"]) == (None, None)


def test_every_setting_that_sounds_secret_is_masked() -> None:
    """A password, token or secret that is added to the settings has to be added to those that are masked."""
    names = {field.name for field in msgspec.structs.fields(Settings)}
    sounding = {name for name in names if any(word in name for word in ("password", "token", "secret"))}
    shown = msgspec.structs.replace(Settings(), **dict.fromkeys(sounding, SECRET)).masked()
    assert {name for name, value in shown.items() if value == "********"} == sounding


def test_settings_that_decide_numbers_are_the_definitions(file: Path) -> None:
    """Every field of Definitions is a setting of the same name and comes through, rates as exact decimals."""
    toml = (
        'timezone = "UTC"\ncurrency = "USD"\nrecipient_limit = 11\ncoverage_days = 1\nsales_cycle_days = 2\n'
        'source_aliases = { www = "web" }\n' + _rates(("USD", "2026-01-01", "1.10"))
    )
    expected = Definitions(
        timezone="UTC",
        currency="USD",
        rates=(Rate(currency="USD", since=date(2026, 1, 1), per_euro=Decimal("1.10")),),
        recipient_limit=11,
        coverage_days=1,
        sales_cycle_days=2,
        source_aliases={"www": "web"},
    )
    assert loaded(file, toml).definitions == expected
    assert Settings().definitions == Definitions()
    for field in msgspec.structs.fields(Definitions):
        if field.name == "forgotten":
            continue  # it is in a file of its own: see test_forgetting.py
        assert getattr(expected, field.name) != getattr(Definitions(), field.name), field.name


def test_other_settings_leave_the_fingerprint_alone(file: Path) -> None:
    """Where servers are and who may look at the numbers does not change them."""
    moved = loaded(file, KAFKA="kafka:9092", REDIS="redis://host", NAMESPACE="other", GROUP="g", HTTP_TOKEN="t")
    assert moved.definitions.fingerprint == Settings().definitions.fingerprint
    moved = loaded(file, FALSE_ALARMS_PER_YEAR="2", HOLIDAYS_COUNTRY="AT", CLOSED_DAYS="12-31")
    assert moved.definitions.fingerprint == Settings().definitions.fingerprint
