"""Faust's own tables, as its documentation has them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.contenders.contender import Place, Running
from bench.contenders.reporting import ReportingProcess


class FaustTables:
    """Two tables in memory with their changelogs in Kafka; quotes and deals come to their lead by `group_by`."""

    name = "Faust tables"
    leaves_out = (
        "Accounts and categories from their history, planned sales, salespeople, days and hours, entities that move to "
        "another lead, dead letters; at least once, so that a crash may count events twice."
    )
    share = 0.02
    may_count_twice = True

    def prepare(self, progress: Callable[[str], None]) -> None:
        """Nothing to prepare: it is one of salesfx's own dependencies."""

    @contextmanager
    def run(self, place: Place) -> Iterator[Running]:
        """Start it."""
        names = [place.topics[topic] for topic in ("lead_created", "quote_sent", "deal_closed")]
        program = [sys.executable, "-m", "bench.contenders.faust_tables_process"]
        arguments = [place.kafka, place.run, str(place.partitions), str(place.events), *names]
        with ReportingProcess([*program, *arguments], folder=place.folder) as running:
            yield running
