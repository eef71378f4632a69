"""Pictures of figures, for the documentation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_OURS, _OTHERS = "#0b5fa5", "#9aa5b1"
_CURVES = ("#0b5fa5", "#c2571a", "#3b7d4f", "#6b6b6b")
_MARKS = ("o", "s", "^", "x")
_LINES = ("-", "--", ":")


def bars(rows: Mapping[str, Mapping[str, Any]], title: str, file: Path) -> None:
    """Draw medians as bars with their spread, the greatest on top."""
    import matplotlib.pyplot as plt  # noqa: PLC0415 - only who draws needs it

    names = sorted(rows, key=lambda name: rows[name]["median"])
    medians = [rows[name]["median"] for name in names]
    around = [
        [rows[name]["median"] - rows[name]["least"] for name in names],
        [rows[name]["greatest"] - rows[name]["median"] for name in names],
    ]
    figure, axes = plt.subplots(figsize=(9, 0.6 * len(names) + 1.4), layout="constrained")
    colours = [_OURS if name == "salesfx" else _OTHERS for name in names]
    axes.barh(names, medians, xerr=around, color=colours, ecolor="#333333", capsize=3)
    for place, median in enumerate(medians):
        axes.text(median * 0.02, place, f"{median:,.0f}", va="center", color="white", fontweight="bold")
    axes.set_title(title, loc="left")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file)
    plt.close(figure)


def curves(points: Mapping[str, list[tuple[float, float]]], labels: tuple[str, str], title: str, file: Path) -> None:
    """Draw curves over a common axis, the values on a logarithmic one.

    Those whose names are the same up to a comma, like "to Redis, p99", have one colour and different lines.
    """
    import matplotlib.pyplot as plt  # noqa: PLC0415 - only who draws needs it

    figure, axes = plt.subplots(figsize=(9, 4.6), layout="constrained")
    drawn: dict[str, int] = {}
    for name, places in points.items():
        of = name.split(",")[0]
        line = _LINES[drawn.setdefault(of, 0) % len(_LINES)]
        drawn[of] += 1
        number = list(drawn).index(of)
        style = {"color": _CURVES[number % len(_CURVES)], "marker": _MARKS[number % len(_MARKS)], "linestyle": line}
        axes.plot([x for x, _ in places], [y for _, y in places], label=name, **style)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.set_title(title, loc="left")
    axes.grid(visible=True, which="major", color="#dddddd")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside lower center", ncols=len(points) // 2 or 1)
    figure.savefig(file)
    plt.close(figure)
