"""Events that were refused for want of a rate, and have one now: tables made anew would count them."""

from collections.abc import Mapping

from salesfx.dead_letters.box import Box
from salesfx.dead_letters.content import Judge, UnfaithfulError, content_of
from salesfx.dead_letters.ledger import Entry, Ledger, Selection, Status
from salesfx.dead_letters.letter import Place
from salesfx.events import TOPICS
from salesfx.refusal import Reason
from salesfx.rules import Rules
from salesfx.settings import Settings
from salesfx.tables.layout import partition_field


def usable_by_now(settings: Settings, offsets: Mapping[str, int], counters: Mapping[str, int]) -> int:
    """Count them, about; it asks Kafka only where tables have refused any. Blocking.

    Args:
        settings: Whose rates are in force.
        offsets: Of the tables.
        counters: Of the tables: a rebuild has taken such events in, whatever became of their letters.

    Raises:
        KafkaAwayError: Kafka cannot be reached.
        NeedsAttentionError: There is no dead-letter topic.

    """
    refused = sum(counters.get(f"rejected|{topic}|{Reason.NO_RATE}", 0) for topic in TOPICS)
    if not refused:
        return 0
    with Box(settings) as box:
        ledger = box.ledger(lambda _: None)
        ledger.offsets = offsets
        judge, usable, merged = Judge(Rules(settings.definitions), box.topics), 0, 0
        for letter in box.letters(_of_these(ledger, box.topics, offsets)):
            try:
                objection = judge.objection(letter, content_of(letter, box.original))
            except UnfaithfulError:  # the log has it no more, so it cannot come into tables that are made of it
                continue
            if objection is not None:
                refused -= 1
            elif ledger.status(str(letter.origin)) is Status.MERGED:
                merged += 1
            else:
                usable += 1
    return min(usable, refused - merged)


def _of_these(ledger: Ledger, topics: Mapping[str, str], offsets: Mapping[str, int]) -> list[Entry]:
    """Give the letters of events that the tables have behind them."""

    def is_behind(place: Place) -> bool:
        topic = topics.get(place.topic)
        return topic is not None and place.offset < offsets.get(partition_field(topic, place.partition), 0)

    chosen = map(ledger.letters.__getitem__, ledger.chosen(Selection(reason=Reason.NO_RATE)))
    return [entry for entry in chosen if is_behind(entry.origin)]
