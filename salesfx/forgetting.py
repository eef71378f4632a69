"""The rule of withdrawal: in an event, tokens in the place of names and ids that are withdrawn.

It comes before everything else: where an entity lives, which version is the greatest, and what is counted follow from
the event with its tokens. It looks at nothing but the event, so the order of events does not matter.
"""

from salesfx.decoder import REF_PREFIX, Event
from salesfx.events import LeadCreated
from salesfx.forgotten import Forgotten, Kind, digest_of, list_is_missing
from salesfx.lead import LEAD, LeadFacts, QuoteFacts

FORGOTTEN_NEED = "forgotten"
"""A need is free text about a customer. That there is one counts."""
_REMEMBERED = 10_000


class Forgetting:
    """One list, ready to be applied."""

    def __init__(self, forgotten: Forgotten) -> None:
        self._is_sealed = forgotten.is_sealed
        self._key = bytes.fromhex(forgotten.key)
        tokens: dict[Kind, dict[bytes, str]] = {kind: {} for kind in Kind}
        for entry in forgotten.entries:
            tokens[entry.kind][bytes.fromhex(entry.digest)] = entry.token
        self._leads, self._accounts, self._people = tokens[Kind.LEAD], tokens[Kind.ACCOUNT], tokens[Kind.SALESPERSON]
        self._known: dict[str, str | None] = {}
        """Tokens of salespeople, who come again and again."""

    def apply(self, event: Event) -> None:
        """Put tokens into an event, in place; where they are in already, nothing changes.

        Raises:
            SealedListError: The list is not there.

        """
        if self._is_sealed:
            raise list_is_missing()
        if self._leads and event.topic == LeadCreated.topic:
            self._rename_lead(event)
        facts = event.facts
        if facts is None:
            return
        account = self._account(facts.account_id) if self._accounts else None
        salesperson = self._salesperson(facts.salesperson) if self._people else None
        if isinstance(facts, LeadFacts):
            if account is not None or salesperson is not None:
                event.facts = LeadFacts(facts.source, salesperson or facts.salesperson, account or facts.account_id)
            return
        lead = self._lead(facts.lead_id) if self._leads else None
        if salesperson is not None:
            facts.salesperson = salesperson
        if account is not None:
            facts.account_id = account
        if lead is not None:
            facts.lead_id = lead
            event.standing.home = LEAD + lead
        if isinstance(facts, QuoteFacts) and facts.need is not None and (lead or account):
            facts.need = FORGOTTEN_NEED

    def _rename_lead(self, event: Event) -> None:
        token = self._lead(event.key)
        if token is not None:
            event.key = token
            event.ref = REF_PREFIX[event.topic] + token

    def _lead(self, key: str | None) -> str | None:
        return None if key is None else self._leads.get(digest_of(self._key, Kind.LEAD, key))

    def _account(self, key: str | None) -> str | None:
        return None if key is None else self._accounts.get(digest_of(self._key, Kind.ACCOUNT, key))

    def _salesperson(self, name: str | None) -> str | None:
        if name is None:
            return None
        if name in self._known:
            return self._known[name]
        token = self._people.get(digest_of(self._key, Kind.SALESPERSON, name))
        if len(self._known) < _REMEMBERED:
            self._known[name] = token
        return token
