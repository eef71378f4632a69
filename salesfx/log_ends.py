"""The ends of Kafka's logs, asked for in the background: what the lag is measured against.

The end that counts is the last stable offset: what a worker, which reads committed events only, can reach.
"""

import logging
import threading
import time

from salesfx.errors import SalesfxError
from salesfx.kafka_log import KafkaLog
from salesfx.kafka_security import kafka_python_options
from salesfx.reading.lag import LogEndsView
from salesfx.settings import Settings
from salesfx.tables.layout import partition_field

EVERY_SECONDS = 10.0
_OLD_SECONDS = 30.0
"""An answer of which nothing newer came for so long is none any more: Kafka hangs."""
_log = logging.getLogger(__name__)


class LogEnds:
    """Asks again and again, in a thread; an absent Kafka is an answer, never an error."""

    def __init__(self, settings: Settings, *, every: float = EVERY_SECONDS, old: float = _OLD_SECONDS) -> None:
        """Make it; nothing is asked before `start`.

        Args:
            settings: Where Kafka is.
            every: Seconds between two questions.
            old: Seconds after which an answer counts as none.

        Raises:
            SettingsError: A setting of Kafka's is not usable.

        """
        kafka_python_options(settings)
        self._kafka_log = KafkaLog(settings)
        self._every = every
        self._old = old
        self._stopping = threading.Event()
        self._answer: tuple[float, LogEndsView] | None = None

    @property
    def latest(self) -> LogEndsView | None:
        """What Kafka said last; None until it was asked once."""
        if self._answer is None:
            return None
        when, view = self._answer
        return view if time.monotonic() - when < self._old else LogEndsView(False)

    def start(self) -> None:
        """Begin to ask. The thread holds up nobody's end: a question may take long where Kafka hangs."""
        threading.Thread(target=self._run, name="salesfx-log-ends", daemon=True).start()

    def stop(self) -> None:
        """Ask no more."""
        self._stopping.set()

    def refresh(self) -> None:
        """Ask once, and wait for the answer."""
        try:
            ranges = self._kafka_log.ranges()
        except SalesfxError as error:
            self._note_absence(str(error))
        except Exception as error:  # noqa: BLE001 - a fault of the client's must not end what would notice its recovery
            self._note_absence(f"{type(error).__name__}: {error}")
        else:
            ends = {partition_field(topic, partition): end for (topic, partition), (_, end) in ranges.items()}
            self._answer = time.monotonic(), LogEndsView(True, ends)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.refresh()
            self._stopping.wait(self._every)

    def _note_absence(self, why: str) -> None:
        if self._answer is None or self._answer[1].answers:
            _log.warning("Kafka does not tell the ends of its logs, so the lag is not shown: %s", why)
        self._answer = time.monotonic(), LogEndsView(False)
