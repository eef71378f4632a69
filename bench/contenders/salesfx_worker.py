"""salesfx itself: the real worker, or two, in front of a real Redis with its append-only file on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.contenders.contender import TOTALS, Place, Running, Totals
from bench.workers import READING, Seen, wait_until, workers
from salesfx.settings import Settings
from salesfx.tables.layout import MONTH


class SalesfxWorker:
    """One `salesfx worker`; every number of it is exact, whatever happens."""

    name = "salesfx"
    leaves_out = "Nothing."
    share = 1.0
    may_count_twice = False
    count = 1

    def prepare(self, progress: Callable[[str], None]) -> None:
        """Nothing to prepare."""

    @contextmanager
    def run(self, place: Place) -> Iterator[Running]:
        """Start workers whose tables are new, in a Redis that holds nothing else, and wait until each has partitions.

        The first begins before the others have come; what is done until then is not timed.
        """
        (prefix,) = {name.removesuffix(topic) for topic, name in place.topics.items()}
        settings = Settings(
            kafka=place.kafka,
            redis=place.redis,
            namespace=place.run,
            group=place.run,
            topic_prefix=prefix,
            partitions=place.partitions,
        )
        seen = Seen(settings)
        seen.client.flushall()
        with seen.client, workers(settings, place.folder, self.count) as running:

            def check() -> None:
                for worker in running:
                    worker.check()

            # A worker that was there before the others has its partitions taken away once, for each that comes.
            wait_until("all have partitions", lambda: all(worker.says(READING) for worker in running), check)
            yield _Tables(seen, check)


class TwoWorkers(SalesfxWorker):
    """Two workers that share the partitions: as many as Kafka Streams has threads here."""

    name = "salesfx, two workers"
    count = 2


class _Tables:
    """What the tables of a run say, read from outside."""

    def __init__(self, seen: Seen, check: Callable[[], None]) -> None:
        self._seen = seen
        self._check = check

    def done(self) -> int:
        """Add up the stored offsets."""
        self._check()
        return self._seen.done()

    def totals(self) -> Totals:
        """Add up the months' tables."""
        client, layout = self._seen.client, self._seen.layout
        found: dict[str, dict[str, int]] = {metric: {} for metric in TOTALS}
        for month in map(bytes.decode, client.smembers(layout.months)):
            for field, number in client.hgetall(layout.table(MONTH + month)).items():
                metric, dimension = field.decode().split("|", 1)
                if metric in found and "salesperson=" not in dimension:
                    found[metric][month] = found[metric].get(month, 0) + int(number)
        return {metric: {month: n for month, n in months.items() if n} for metric, months in found.items()}
