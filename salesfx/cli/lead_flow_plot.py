"""The picture of a backtest."""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from salesfx.errors import NeedsAttentionError
from salesfx.lead_flow.history import History
from salesfx.lead_flow.usual import LeadFlow

if TYPE_CHECKING:
    from salesfx.cli.lead_flow_backtest import EpisodeJson

_CAME, _USUAL, _ALARM = "#9aa5b1", "#0b5fa5", "#c2571a"


def draw(history: History, flow: LeadFlow, episodes: Sequence["EpisodeJson"], file: Path) -> None:
    """Draw the leads of each day, what was usual, and the alarms.

    Raises:
        NeedsAttentionError: The file cannot be written.

    """
    import matplotlib as mpl  # noqa: PLC0415 - an extra

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    days = [history.first + timedelta(number) for number in range(len(flow.totals))]
    usual = [known.expected(flow.kinds[day]) if (known := flow.usual(day)) else None for day in range(len(days))]
    figure, axes = plt.subplots(figsize=(11, 4.2), layout="constrained")
    axes.plot(days, flow.totals, color=_CAME, linewidth=1, label="leads a day")
    axes.plot(days, [float("nan") if value is None else value for value in usual], color=_USUAL, label="usual")
    for number, episode in enumerate(episodes):
        start = date.fromisoformat(episode.start[:10])
        end = date.fromisoformat(episode.end[:10]) if episode.end else days[-1]
        axes.axvspan(start, end + timedelta(1), color=_ALARM, alpha=0.35, label=None if number else "alarm")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=3, loc="upper left")
    try:
        figure.savefig(file)
    except (OSError, ValueError) as error:
        raise NeedsAttentionError(f"cannot write {file}: {error}") from error
    finally:
        plt.close(figure)
