"""python -m bench.latency.watcher_process NAMESPACE COUNT NOTES_FILE, with SALESFX_REDIS in the environment.

Notes when events are visible in Redis, without polling: Redis tells of each commit by a keyspace notification of the
offsets' hash, the hash is then read, and the moment noted is that of the answer. So it is what a client of Redis sees,
late by less than one more command takes. It says `ready`, and ends after COUNT events.
"""

import gc
import os
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import redis

from bench.latency.notes import Sighting
from salesfx.tables.layout import FIRST_GENERATION, Layout

_WAIT_SECONDS = 0.5


def watch(url: str, namespace: str, count: int) -> list[Sighting]:
    """Watch the stored offsets until they have moved on by so many events."""
    client: Any = redis.Redis.from_url(url)
    key = Layout(namespace, FIRST_GENERATION).offsets
    found: list[Sighting] = []
    known: dict[bytes, int] = {}

    def look() -> None:
        offsets = client.hgetall(key)
        now = time.monotonic()
        for field, offset in offsets.items():
            if known.get(field) != int(offset):
                known[field] = int(offset)
                found.append((now, field.decode(), known[field]))

    with client.pubsub(ignore_subscribe_messages=True) as told:
        told.subscribe(f"__keyspace@0__:{key}")
        told.get_message(timeout=_WAIT_SECONDS)
        look()
        end = sum(known.values()) + count
        gc.disable()
        print("ready", flush=True)
        while sum(known.values()) < end:
            if told.get_message(timeout=_WAIT_SECONDS) is None:
                continue
            while told.get_message() is not None:
                pass  # several commits at once are seen by one look
            look()
    return found


if __name__ == "__main__":
    _, name, to_come, notes_file = sys.argv
    notes = watch(os.environ["SALESFX_REDIS"], name, int(to_come))
    Path(notes_file).write_bytes(msgspec.msgpack.encode(notes))
