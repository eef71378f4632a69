"""What all pages of the server are made from."""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from salesfx.lead_flow.live import LeadFlowJudge
from salesfx.reading.lag import LogEndsView
from salesfx.reading.progress import ProgressOf
from salesfx.reading.reader import Reader
from salesfx.settings import Settings


class Parts(NamedTuple):
    """One of each, for all pages: judge and forecast keep what they have worked out for a day."""

    settings: Settings
    reader: Reader
    """Of the tables."""
    log_ends: Callable[[], LogEndsView | None]
    """Gives what Kafka said last."""
    now: Callable[[], datetime]
    """The clock; gives aware datetimes."""
    judge: LeadFlowJudge
    progress_of: ProgressOf
