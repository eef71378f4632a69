"""`salesfx topics`."""

import click

from salesfx.kafka_log import KafkaLog
from salesfx.kafka_security import quiet_kafka_python
from salesfx.settings import Settings


@click.command()
@click.pass_obj
def topics(settings: Settings) -> None:
    """Create the Kafka topics that are missing, kept for ever. `salesfx worker` does so too."""
    with quiet_kafka_python():
        created = KafkaLog(settings).ensure_topics()
    click.echo(f"created {', '.join(created)}" if created else "all topics exist")
