"""python -m bench.contenders.faust_tables_process KAFKA RUN PARTITIONS EVENTS LEADS QUOTES DEALS"""

import json
import logging
import sys
import time
from typing import Any

import faust

from bench.contenders import peer_work

_REPORT_SECONDS = 0.1


def build(  # noqa: C901 - one place for all agents, as in Faust's guide
    kafka: str, run: str, partitions: int, expected: int, names: list[str]
) -> faust.App:
    """Put the app together, as Faust's user guide does: agents, `group_by`, and tables with a default."""
    app = faust.App(
        run,
        broker=f"kafka://{kafka}",
        store="memory://",
        topic_partitions=partitions,
        topic_replication_factor=1,
        table_standby_replicas=0,
        web_enabled=False,
        broker_max_poll_records=4000,
        stream_buffer_maxsize=16384,
        consumer_auto_offset_reset="earliest",
    )
    leads = app.Table("leads", default=dict, partitions=partitions)
    kpis = app.Table("kpis", default=int, partitions=partitions)
    done, reported = 0, 0.0

    def count(record_key: str, event: dict[str, Any]) -> None:
        nonlocal done, reported
        record = leads[record_key]
        for cell, number in peer_work.changes(record, event).items():
            kpis[cell] += number
        leads[record_key] = record
        done += 1
        if time.monotonic() - reported > _REPORT_SECONDS or done == expected:
            reported = time.monotonic()
            print("progress", done, flush=True)
            if done == expected:
                print("totals", json.dumps(peer_work.totals(kpis)), flush=True)

    lead_topic, quote_topic, deal_topic = (app.topic(name, value_serializer="json") for name in names)

    @app.agent(lead_topic)
    async def take_leads(stream: Any) -> None:
        async for event in stream:
            count(peer_work.home(event), event)

    @app.agent(quote_topic)
    async def take_quotes(stream: Any) -> None:
        async for event in stream.group_by(_lead_key, name="lead", partitions=partitions):
            count(peer_work.home(event), event)

    @app.agent(deal_topic)
    async def take_deals(stream: Any) -> None:
        async for event in stream.group_by(_lead_key, name="lead", partitions=partitions):
            count(peer_work.home(event), event)

    return app


def _lead_key(event: dict[str, Any]) -> str:
    """Give the key whose partition the lead's own events are in."""
    return str(event.get("lead_id") or event.get("quote_id") or event["deal_id"])


if __name__ == "__main__":
    _, address, name, count_of_partitions, count_of_events, *topics = sys.argv
    logging.basicConfig(level=logging.WARNING)
    application = build(address, name, int(count_of_partitions), int(count_of_events), topics)
    faust.Worker(application, loglevel="WARNING", redirect_stdouts=False).execute_from_commandline()
