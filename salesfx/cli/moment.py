"""Moments, as arguments of commands."""

from datetime import datetime

import click

from salesfx.reading.moment import read_moment
from salesfx.settings import Settings


class MomentType(click.ParamType):
    """An RFC 3339 instant, or a date in the business time zone."""

    name = "TIME"

    def __init__(self, *, end: bool) -> None:
        """Make one; with `end` a date stands for its end."""
        self._end = end

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read it, or end with a usage error."""
        if isinstance(value, datetime):
            return value
        settings = ctx.find_object(Settings) if ctx is not None else None
        try:
            return read_moment(str(value), (settings or Settings()).timezone, end=self._end)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def refuse_future(moment: datetime, now: datetime, option: str, instead: str) -> None:
    """End with a usage error where a moment has not come yet: what will be known then cannot be told."""
    if moment > now:
        raise click.UsageError(f"{option}: {moment.isoformat()} has not come yet; {instead}.")
