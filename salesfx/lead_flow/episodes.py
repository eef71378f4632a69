"""Episodes: what a person would call one alarm."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from salesfx.lead_flow.judgement import Window

CALM_DAYS = 3
"""An episode ends when nothing has rung for so many days; what rings sooner belongs to it."""


@dataclass(frozen=True, slots=True)
class Look:
    """One moment, and what rang."""

    at: float
    """Days since the beginning of the history."""
    ringing: Window | None
    """The window that says most, where any rang."""


@dataclass(frozen=True, slots=True)
class Episode:
    """From the first look that rang to the last."""

    start: float
    end: float | None
    """The last look that rang, after which it was calm; None where the history ends before that is known."""
    window: Window
    """As it was when it said most."""
    at: float
    """When that was."""


def episodes(looks: Iterable[Look]) -> Iterator[Episode]:
    """Put the looks that rang together, in their order."""
    start = end = at = 0.0
    worst: Window | None = None
    now = 0.0
    for look in looks:
        now = look.at
        if worst is not None and now - end > CALM_DAYS:
            yield Episode(start, end, worst, at)
            worst = None
        if look.ringing is None:
            continue
        end = now
        if worst is None:
            start = now
        if worst is None or _unlikeliness(look.ringing) > _unlikeliness(worst):
            worst, at = look.ringing, now
    if worst is not None:
        yield Episode(start, None if now - end < CALM_DAYS else end, worst, at)


def _unlikeliness(window: Window) -> float:
    return window.level / max(window.probability, 1e-300)
