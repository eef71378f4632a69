"""How the sources share what they may ring together."""

from collections.abc import Mapping

from salesfx.lead_flow.usual import LeadFlow

_FLOOR = 4.0
"""Expected leads below which silence is never news, however few alarms there may be to share."""
_DAYS = 28


def shares(flows: Mapping[str, LeadFlow], day: int, false_alarms_per_year: float) -> dict[str, float]:
    """Divide a budget equally among those that can be judged at all, by what is usual of them.

    Args:
        flows: The flow of each source.
        day: Number of the day in all of them.
        false_alarms_per_year: Of all sources together.

    Returns:
        Of each source its part. One that can not be judged takes nothing from the others; its own is what it would have
        as one more of them.

    """
    able = {name for name, flow in flows.items() if _is_able(flow, day)}
    return {name: false_alarms_per_year / (len(able) if name in able else len(able) + 1) for name in flows}


def _is_able(flow: LeadFlow, day: int) -> bool:
    usual = flow.usual(day)
    return usual is not None and usual.level * _DAYS >= _FLOOR
