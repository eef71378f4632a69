"""`salesfx config`."""

import click
import msgspec

from salesfx.settings import Settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def config(settings: Settings, *, as_json: bool) -> None:
    """Print the settings that are in force, secrets masked."""
    shown = settings.masked()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(shown)).decode())
        return
    for name, value in shown.items():
        click.echo(f"# {name} is not set" if value is None else f"{name} = {msgspec.json.encode(value).decode()}")
    click.echo(f"# fingerprint of what decides the numbers: {settings.definitions.fingerprint}")
