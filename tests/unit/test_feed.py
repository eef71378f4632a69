"""What is said to be wrong with the way of the events into the tables, and what is not."""

from datetime import UTC, datetime, timedelta

import pytest

from salesfx.definitions import Definitions
from salesfx.feed import heard_feeds, troubles
from salesfx.tables import Snapshot

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
TOPICS = ("lead_created", "quote_sent", "deal_closed")


def snapshot(marks: dict[str, str], definitions: Definitions | None = None) -> Snapshot:
    """Make tables that have nothing but marks."""
    meaning = definitions or Definitions()
    return Snapshot("1", meaning.fingerprint, meaning.canonical(), [], {}, {}, {}, marks)


def ago(past: timedelta) -> str:
    """Write a mark's time."""
    return f"{(NOW - past).timestamp():.3f}"


def heard(feed: str, past: timedelta, *topics: str) -> dict[str, str]:
    """Mark a feed as heard some time ago."""
    return {f"last_heartbeat|{topic}|{feed}": ago(past) for topic in topics or TOPICS}


def said(marks: dict[str, str]) -> str:
    """Put all sentences into one text."""
    return " ".join(each.sentence for each in troubles(snapshot(marks), NOW))


def test_tables_from_before_heartbeats_are_not_called_broken() -> None:
    """However old their last event and commit are."""
    assert troubles(snapshot({}), NOW) == []
    assert (
        troubles(snapshot({"last_event|lead_created:0": ago(90 * DAY), "last_commit|lead_created:0": ago(DAY)}), NOW)
        == []
    )


def test_all_is_well_while_heartbeats_come() -> None:
    """A worker and feeds that were heard within their time, and one whose clock is a little ahead."""
    assert said(heard("worker", 4 * MINUTE) | heard("crm", 9 * MINUTE) | heard("erp", -MINUTE)) == ""


def test_a_worker_that_is_not_heard_means_that_nothing_gets_through() -> None:
    """The sentence names the topic, and since when in the business time zone; the feeds are not blamed for it."""
    marks = heard("worker", MINUTE) | heard("worker", 6 * MINUTE, "lead_created") | heard("crm", 20 * MINUTE)
    [found] = troubles(snapshot(marks), NOW)
    assert (found.kind, found.name, found.since) == ("stuck", "lead_created", NOW - 6 * MINUTE)
    assert "lead_created since 2026-11-20 11:24 " in found.sentence
    [found] = troubles(snapshot(marks, Definitions(timezone="UTC")), NOW)
    assert "lead_created since 2026-11-20 09:24 " in found.sentence
    assert len(troubles(snapshot(heard("worker", 30 * DAY)), NOW)) == 3, "a worker does not go out of use"


@pytest.mark.parametrize(
    ("past", "is_missed"),
    [(10 * MINUTE, False), (10 * MINUTE + SECOND, True), (7 * DAY, True), (7 * DAY + SECOND, False)],
)
def test_a_feed_that_falls_silent_is_missed_for_a_week(past: timedelta, is_missed: bool) -> None:
    """After that it is taken for one that is out of use."""
    found = said(heard("worker", MINUTE) | heard("salesforce", past))
    assert ("The feed salesforce was last heard at" in found) is is_missed
    assert bool(found) is is_missed
    each = troubles(snapshot(heard("worker", MINUTE) | heard("salesforce", past)), NOW)
    assert [(one.kind, one.name, one.since) for one in each] == [("silent", "salesforce", NOW - past)] * is_missed


def test_a_feed_is_heard_where_any_topic_has_its_heartbeat() -> None:
    """One topic that is not reached is the worker's heartbeat to tell of."""
    marks = heard("worker", MINUTE) | heard("crm", 20 * MINUTE) | heard("crm", 2 * MINUTE, "deal_closed")
    assert said(marks) == ""
    assert heard_feeds(snapshot(marks)) == {"worker": NOW - MINUTE, "crm": NOW - 2 * MINUTE}


@pytest.mark.parametrize(
    ("share", "past", "is_wrong"),
    [("0.9", MINUTE, True), ("0.5", MINUTE, False), ("0.9", DAY + SECOND, False)],
)
def test_leads_that_are_mainly_refused_are_a_broken_feed(share: str, past: timedelta, is_wrong: bool) -> None:
    """Some bad ones among the others are not, nor are those of days ago."""
    marks = {"refused_share|lead_created": share, "last_refused|lead_created": ago(past)}
    assert (said(marks) != "") is is_wrong
    assert not is_wrong or "90% of the last events of lead_created were refused" in said(marks)
    other = {"refused_share|quote_sent": share, "last_refused|quote_sent": ago(past)}
    assert said(other) == "", "the lead flow does not stand on quotes"


def test_a_feed_may_have_bars_in_its_name() -> None:
    """Marks are read from the left."""
    assert "The feed a|b was last heard" in said(heard("worker", MINUTE) | heard("a|b", 20 * MINUTE))
