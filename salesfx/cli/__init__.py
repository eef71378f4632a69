"""The command line."""

import importlib
import sys
from pathlib import Path
from typing import Any

import click

from salesfx import __version__
from salesfx.errors import SalesfxError
from salesfx.settings import load_settings

COMMANDS = {
    # In the order of a newcomer's questions; each is the module's attribute of the same name.
    "demo": "salesfx.cli.demo:demo",
    "up": "salesfx.cli.up:up",
    "kpi": "salesfx.cli.kpi:kpi",
    "report": "salesfx.cli.report:report",
    "restated": "salesfx.cli.restated:restated_",
    "explain": "salesfx.cli.explain:explain_",
    "show": "salesfx.cli.show:show",
    "lead-flow": "salesfx.cli.lead_flow:lead_flow_",
    "audit": "salesfx.cli.audit:audit",
    "archive": "salesfx.cli.archive:archive",
    "restore": "salesfx.cli.restore:restore",
    "rebuild": "salesfx.cli.rebuild:rebuild",
    "generations": "salesfx.cli.generations:generations",
    "forget": "salesfx.cli.forget:forget",
    "dead-letters": "salesfx.cli.dead_letters:dead_letters",
    "publish": "salesfx.cli.publish:publish",
    "import": "salesfx.cli.import_:import_",
    "worker": "salesfx.cli.worker:worker",
    "serve": "salesfx.cli.serve:serve",
    "topics": "salesfx.cli.topics:topics",
    "doctor": "salesfx.cli.doctor:doctor",
    "config": "salesfx.cli.config:config",
}


class _Commands(click.Group):
    """Imports a command's module only when it is called, so that `salesfx --help` is quick."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run, and print our own errors as sentences."""
        try:
            return super().main(*arguments, **options)
        except SalesfxError as error:
            click.echo(f"salesfx: {error}", err=True)
            sys.exit(error.exit_status)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="salesfx")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings file; default: SALESFX_CONFIG, else salesfx.toml here.",
)
@click.pass_context
def main(context: click.Context, config_file: Path | None) -> None:
    """Sales KPIs from CRM events: exact monthly tables, whatever happens to the events on their way."""
    if not any(flag in sys.argv for flag in ("-h", "--help")):
        context.obj = load_settings(config_file)


__all__ = ["main"]
