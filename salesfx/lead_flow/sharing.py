"""How the sources share what they may ring together."""

from collections.abc import Mapping

from salesfx.lead_flow.usual import Usual

_FLOOR = 4.0
"""Expected leads below which silence is never news, however few alarms there may be to share."""
_DAYS = 28


def shares(usual: Mapping[str, Usual | None], false_alarms_per_year: float) -> dict[str, float]:
    """Divide a budget equally among those that can be judged at all, by what is usual of them.

    Args:
        usual: What is usual of each source; None where that is not known yet.
        false_alarms_per_year: Of all sources together.

    Returns:
        Of each source its part. One that can not be judged takes nothing from the others; its own is what it would have
        as one more of them.

    """
    able = {name for name, known in usual.items() if known is not None and known.level * _DAYS >= _FLOOR}
    return {name: false_alarms_per_year / (len(able) if name in able else len(able) + 1) for name in usual}
