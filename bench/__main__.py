"""python -m bench: the measurements behind docs/performance.md and docs/lead-flow.md."""

from importlib import import_module

import click

_COMMANDS = {
    "throughput": "throughput",
    "disorder": "disorder",
    "latency": "latency",
    "growth": "growth",
    "recovery": "recovery",
    "two-workers": "two_workers",
    "archive": "archive",
    "long-log": "long_log",
    "explain": "explain",
    "walls": "walls",
    "lead-flow": "lead_flow",
    "report": "report",
}


class _Lazy(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """Name the commands."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """Import one."""
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"bench.{_COMMANDS[cmd_name]}").command
        return command


@click.group(cls=_Lazy, help=__doc__)
def main() -> None:
    """Run a benchmark with servers of its own; `report` makes the documentation's tables and pictures of the figures."""


if __name__ == "__main__":
    main(prog_name="python -m bench")
