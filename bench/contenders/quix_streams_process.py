"""python quix_streams_process.py KAFKA RUN PARTITIONS EVENTS LEADS QUOTES DEALS, in Quix Streams' own environment."""

import json
import sys
import time
from typing import Any

from quixstreams import Application, State
from quixstreams.models import Topic, TopicConfig

from bench.contenders import peer_work

_REPORT_SECONDS = 0.1

Changes = dict[str, int]


class Tables:
    """The two stateful steps, with the count of what they have done."""

    def __init__(self, expected: int, stop: Any) -> None:
        """Begin with nothing.

        Args:
            expected: How many events there are.
            stop: Called when all are in the tables.

        """
        self._expected, self._stop = expected, stop
        self._done, self._sent, self._added, self._reported = 0, 0, 0, 0.0
        self.cells: Changes = {}
        """The output: what a reader of the tables has seen last."""

    def merge(self, event: dict[str, Any], state: State) -> list[tuple[str, Changes]]:
        """Put an event into its lead's record; give what changes, by month."""
        home = peer_work.home(event)
        record: dict[str, Any] = state.get(home, {})
        months: dict[str, Changes] = {}
        for cell, number in peer_work.changes(record, event).items():
            months.setdefault(cell.partition("|")[0], {})[cell] = number
        state.set(home, record)
        self._done += 1
        self._sent += len(months)
        self._report()
        return list(months.items())

    def add(self, changes: Changes, state: State) -> None:
        """Add to the cells of a month."""
        for cell, number in changes.items():
            self.cells[cell] = total = state.get(cell, 0) + number
            state.set(cell, total)
        self._added += 1
        self._report()

    def _report(self) -> None:
        """Tell how far it is, now and then; the last events only when they are committed, by `main`."""
        if time.monotonic() - self._reported > _REPORT_SECONDS:
            self._reported = time.monotonic()
            print("progress", min(self._done, self._expected - 1), flush=True)
        if self._done == self._expected and self._sent == self._added:
            self._stop()


def main(kafka: str, run: str, partitions: int, expected: int, names: list[str]) -> None:
    """Run until all is in the tables, and is committed.

    Everything is at its default, which is at least once with a commit every five seconds, but for the beginning. State is
    always of one key of one dataframe, so all three topics go on to one whose keys are the leads, and what changes to one
    whose keys are the months. `group_by` with `concat` does the same, but aligns the topics in time, the ones that it
    feeds itself included: it was four times slower.
    """
    app = Application(broker_address=kafka, consumer_group=run, auto_offset_reset="earliest", loglevel="WARNING")
    tables = Tables(expected, app.stop)

    def topic_between(what: str) -> Topic:
        config = TopicConfig(num_partitions=partitions, replication_factor=1)
        return app.topic(f"{run}-{what}", key_serializer="str", key_deserializer="str", config=config)

    by_lead, by_month = topic_between("by-lead"), topic_between("by-month")
    for name in names:
        app.dataframe(app.topic(name, key_deserializer="str")).to_topic(by_lead, key=_lead_key)
    changes = app.dataframe(by_lead).apply(tables.merge, stateful=True, expand=True)
    changes.to_topic(by_month, key=lambda change: change[0])
    app.dataframe(by_month).update(lambda change, state: tables.add(change[1], state), stateful=True)
    app.run()
    print("totals", json.dumps(peer_work.totals(tables.cells)), flush=True)
    print("progress", expected, flush=True)


def _lead_key(event: dict[str, Any]) -> str:
    """Give the key whose partition the lead's own events are in."""
    return str(event.get("lead_id") or event.get("quote_id") or event["deal_id"])


if __name__ == "__main__":
    _, address, name, count_of_partitions, count_of_events, *names_of_topics = sys.argv
    main(address, name, int(count_of_partitions), int(count_of_events), names_of_topics)
