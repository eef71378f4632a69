"""`salesfx doctor`."""

import asyncio
import sys

import click
import msgspec

from salesfx.doctor import examine
from salesfx.settings import Settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def doctor(settings: Settings, *, as_json: bool) -> None:
    """Check Kafka, topics, retention, Redis and its policies, definitions and lag; say what to do. Status 1: something is wrong."""
    findings = asyncio.run(examine(settings))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(findings)).decode())
    else:
        for finding in findings:
            click.echo(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.subject}: {finding.detail}")
    if not all(finding.ok for finding in findings):
        sys.exit(1)
