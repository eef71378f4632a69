"""What the numbers mean, and the fingerprint that keeps numbers of different meanings apart."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from salesfx import definitions as module
from salesfx.definitions import Definitions, Rate, differences, only_adds_rates, zone_digest
from salesfx.forgotten import Forgotten, Kind


def rate(currency: str = "USD", per_euro: str = "1.1", since: str = "2026-01-01") -> Rate:
    """Make a rate."""
    return Rate(currency=currency, since=date.fromisoformat(since), per_euro=Decimal(per_euro))


OTHER: dict[str, Any] = {
    "timezone": "UTC",
    "currency": "USD",
    "rates": (rate(),),
    "recipient_limit": 11,
    "coverage_days": 366,
    "sales_cycle_days": 31,
    "source_aliases": {"www": "web"},
    "forgotten": Forgotten().with_values(Kind.LEAD, ["L1"]),
}
"""For every field a value that is not its default."""


def test_every_field_is_part_of_the_fingerprint() -> None:
    """A field of Definitions decides numbers, so each is in the JSON; one that is added has to be added there too."""
    fields = {field.name for field in msgspec.structs.fields(Definitions)}
    withdrawn = Definitions(forgotten=OTHER["forgotten"])
    assert set(json.loads(withdrawn.canonical())) == fields | {"rules_version", "timezone_rules"}
    assert set(OTHER) == fields, "give the new field another value here"


def test_every_part_of_a_rate_is_part_of_the_fingerprint() -> None:
    """The same for the fields of a rate."""
    fields = {field.name for field in msgspec.structs.fields(Rate)}
    (written,) = json.loads(Definitions(rates=(rate(),)).canonical())["rates"]
    assert set(written) == fields


@pytest.mark.parametrize("field", OTHER)
def test_the_fingerprint_changes_with_every_field(field: str) -> None:
    """No two of the definitions that differ in one field have one fingerprint."""
    changed = Definitions(**{field: OTHER[field]})
    assert changed.fingerprint != Definitions().fingerprint
    others = [Definitions(**{other: value}).fingerprint for other, value in OTHER.items() if other != field]
    assert changed.fingerprint not in others


@pytest.mark.parametrize(
    "changed",
    [rate("CHF"), rate(per_euro="1.11"), rate(since="2026-01-02")],
    ids=["currency", "per_euro", "since"],
)
def test_the_fingerprint_changes_with_every_part_of_a_rate(changed: Rate) -> None:
    """Another currency, another date or another number is another rate."""
    assert Definitions(rates=(changed,)).fingerprint != Definitions(rates=(rate(),)).fingerprint


def test_the_fingerprint_changes_with_the_version_of_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that adds up differently makes other tables under the same settings."""
    before = Definitions().fingerprint
    monkeypatch.setattr(module, "RULES_VERSION", module.RULES_VERSION + 1)
    assert Definitions().fingerprint != before


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Definitions(), Definitions(timezone="Europe/Sofia", recipient_limit=10)),
        (Definitions(rates=(rate("USD"), rate("CHF"))), Definitions(rates=(rate("CHF"), rate("USD")))),
        (
            Definitions(rates=(rate(since="2026-01-01"), rate(since="2026-02-01"))),
            Definitions(rates=(rate(since="2026-02-01"), rate(since="2026-01-01"))),
        ),
        (Definitions(rates=(rate(per_euro="1.1"),)), Definitions(rates=(rate(per_euro="1.100"),))),
        (Definitions(rates=(rate(per_euro="100"),)), Definitions(rates=(rate(per_euro="1E+2"),))),
        (Definitions(source_aliases={"a": "b", "c": "d"}), Definitions(source_aliases={"c": "d", "a": "b"})),
    ],
    ids=["defaults", "currencies", "dates", "zeros", "exponent", "aliases"],
)
def test_the_fingerprint_does_not_change_with_how_a_thing_is_written(one: Definitions, other: Definitions) -> None:
    """Defaults written out, another order of lines and needless zeros mean the same."""
    assert one.canonical() == other.canonical()
    assert one.fingerprint == other.fingerprint


def test_the_fingerprint_of_the_defaults() -> None:
    """It is kept beside everybody's tables: a change of it asks all of them for a rebuild, so it is never by accident."""
    # In a zone that no parliament changes.
    assert Definitions(timezone="UTC").fingerprint == "9839bf7aa0ce2a5f"


def test_other_rules_of_the_same_time_zone_are_other_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new edition of the time zone database moves dates under the same name, so it is refused with a sentence."""
    before = Definitions()
    stored, fingerprint = before.canonical(), before.fingerprint
    monkeypatch.setattr("salesfx.definitions.zone_digest", lambda _timezone: "another")
    after = Definitions()
    assert after.fingerprint != fingerprint
    (sentence,) = differences(stored, after.canonical())
    assert "time zone database" in sentence
    assert "Europe/Sofia" in sentence


def test_a_zone_is_known_by_what_its_clocks_show() -> None:
    """Not by its name: an alias has the same digest, a neighbour has not."""
    assert zone_digest("Europe/Kyiv") == zone_digest("Europe/Kiev")
    assert len({zone_digest(zone) for zone in ("UTC", "Europe/Sofia", "Europe/Vienna", "Asia/Kolkata")}) == 4


def test_equal_definitions_have_no_differences() -> None:
    """Nothing is named that is the same."""
    assert differences(Definitions().canonical(), Definitions().canonical()) == []


def test_differences_name_each_field_with_both_values() -> None:
    """What the tables were made with and what it is now, for each that differs and for no other."""
    ours = Definitions(timezone="UTC", recipient_limit=11, source_aliases={"www": "web"})
    assert differences(Definitions().canonical(), ours.canonical()) == [
        "recipient_limit: the tables were made with 10, now it is 11",
        'source_aliases: the tables were made with {}, now it is {"www":"web"}',
        'timezone: the tables were made with "Europe/Sofia", now it is "UTC"',
    ]


def test_differences_to_definitions_of_another_version() -> None:
    """A field that only one of the two versions knows is named as well."""
    ours = Definitions().canonical()
    theirs = json.loads(ours)
    del theirs["coverage_days"]
    theirs["fiscal_year"] = 4
    assert differences(json.dumps(theirs).encode(), ours) == [
        "coverage_days: the tables were made with null, now it is 365",
        "fiscal_year: the tables were made with 4, now it is null",
    ]


DOLLARS = Definitions(rates=(rate(),))


@pytest.mark.parametrize(
    ("stored", "ours"),
    [
        (Definitions(), DOLLARS),
        (Definitions(), Definitions(rates=(rate("USD"), rate("CHF"), rate("CHF", "0.9", "2026-06-01")))),
        (DOLLARS, Definitions(rates=(rate("CHF"), rate()))),
        (DOLLARS, Definitions(rates=(rate(), rate("ZAR")))),
    ],
    ids=["first", "several", "before", "after"],
)
def test_rates_for_other_currencies_only_add(stored: Definitions, ours: Definitions) -> None:
    """A currency that had no rate at all may get some: all its events were refused."""
    assert only_adds_rates(stored.canonical(), ours.canonical())
    assert not only_adds_rates(ours.canonical(), stored.canonical()), "taking a rate away is no addition"


@pytest.mark.parametrize(
    ("stored", "ours"),
    [
        (DOLLARS, Definitions(rates=(rate(per_euro="1.2"),))),
        (DOLLARS, Definitions(rates=(rate(since="2025-01-01"),))),
        (DOLLARS, Definitions(rates=(rate(), rate(per_euro="1.2", since="2026-06-01")))),
        (DOLLARS, Definitions(rates=(rate(), rate(per_euro="1.2", since="2025-06-01")))),
        (DOLLARS, Definitions(rates=(rate("CHF"),))),
        (DOLLARS, Definitions()),
        (Definitions(), Definitions(rates=(rate(),), recipient_limit=11)),
        (Definitions(), Definitions(rates=(rate(),), timezone="UTC")),
    ],
    ids=["number", "date", "later", "earlier", "replaced", "removed", "and a limit", "and a time zone"],
)
def test_any_other_change_does_not_only_add(stored: Definitions, ours: Definitions) -> None:
    """A currency that had a rate may be in the tables already, and so may everything else."""
    assert not only_adds_rates(stored.canonical(), ours.canonical())
