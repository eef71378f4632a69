"""`salesfx doctor`."""

import asyncio
import sys

import click
import msgspec

from salesfx.doctor import examine
from salesfx.kafka_security import quiet_kafka_python
from salesfx.settings import Settings


@click.command(short_help="Check everything, and say what to do.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def doctor(settings: Settings, *, as_json: bool) -> None:
    """Check Kafka, topics, retention, Redis and its policies, definitions, the feed and lag.

    Says what to do about what is wrong; the exit status is then 1.
    """
    with quiet_kafka_python():
        findings = asyncio.run(examine(settings))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(findings)).decode())
    else:
        for finding in findings:
            click.echo(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.subject}: {finding.detail}")
    if not all(finding.ok for finding in findings):
        sys.exit(1)
