"""What the lag is measured against."""

from collections.abc import Mapping
from typing import NamedTuple


class LogEndsView(NamedTuple):
    """What Kafka said last."""

    answers: bool
    """Whether it said anything."""
    ends: Mapping[str, int] = {}
    """Log end of each partition, by `topic:partition`; empty while Kafka does not answer."""
