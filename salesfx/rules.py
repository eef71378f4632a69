"""The definitions, ready to be applied: what the fold needs to know beside the events."""

import unicodedata
from collections.abc import Iterable

from salesfx.business_time import BusinessTime
from salesfx.decoder import Event
from salesfx.definitions import Definitions
from salesfx.forgetting import Forgetting
from salesfx.lead import DealFacts, Facts, QuoteFacts
from salesfx.money import Exchange


class Rules:
    """One set of definitions with its calendar, its exchange and its names of sources."""

    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self.time = BusinessTime(definitions.timezone)
        self.recipient_limit = definitions.recipient_limit
        self.coverage_days = definitions.coverage_days
        self.sales_cycle_days = definitions.sales_cycle_days
        self._exchange = Exchange(definitions.currency, definitions.rates)
        self._aliases = {_folded(name): _folded(alias) for name, alias in definitions.source_aliases.items()}
        self._sources: dict[str, str] = {}
        self._forgetting = Forgetting(definitions.forgotten) if definitions.forgotten else None

    def forget(self, events: Iterable[Event]) -> Iterable[Event]:
        """Put tokens in the place of what is withdrawn, in the events themselves.

        Raises:
            SealedListError: Something is withdrawn, and the list that says what is not there.

        """
        if self._forgetting is None:
            return events
        events = list(events)
        for event in events:
            self._forgetting.apply(event)
        return events

    def source(self, written: str | None) -> str:
        """Give the name under which a lead's source counts: case-folded, aliases applied, `unknown` where absent."""
        if written is None:
            return "unknown"
        known = self._sources.get(written)
        if known is None:
            folded = _folded(written)
            known = self._aliases.get(folded, folded)
            if len(self._sources) < _REMEMBERED:
                self._sources[written] = known
        return known

    def price(self, facts: Facts | None) -> None:
        """Convert an event's amount into the reporting currency, by the rate of its local date.

        Raises:
            Refused: There is no such rate, or the amount is beyond what tables can hold.

        """
        if isinstance(facts, (QuoteFacts, DealFacts)) and facts.amount is not None and facts.currency is not None:
            day = self.time.local(facts.occurred_at).day
            facts.hundredths = self._exchange.hundredths(facts.amount, facts.currency, day)

    def qualifies(self, quote: QuoteFacts) -> bool:
        """Tell whether a quote answers a need and is no bulk mail."""
        return quote.need is not None and quote.recipient_count <= self.recipient_limit


_REMEMBERED = 10_000


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name.strip()).casefold())
