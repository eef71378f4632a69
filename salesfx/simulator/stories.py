"""What happens in the sales team, day by day: leads come, some are sent quotes, some of these become customers.

A story is told to its end on the day it begins, with the dates that lie ahead; the CRM's outbox keeps what is not published
yet. Only what a customer does after a deal is told when its day comes, so that little waits at any time. Moments are whole
milliseconds since 1970 in UTC, days are ordinals of the local calendar, amounts are whole cents of a euro.
"""

from collections import defaultdict, deque
from dataclasses import dataclass
from datetime import date

from .chance import Dice, deck
from .crm import DEAL, LEAD, QUOTE, Crm, Event
from .rhythm import (
    DAY,
    HOUR,
    MINUTE,
    SOURCES,
    Source,
    daily_mean,
    local_day,
    local_stamp,
    midnight,
    next_workday,
    office_moment,
    utc_stamp,
)
from .team import Salesperson, Team

_NEEDS = (
    "crm for the field team",
    "fleet tracking",
    "GDPR archive",
    "invoices by e-mail",
    "onboarding of new staff",
    "online shop",
    "replace the old telephony",
    "reporting for the board",
    "service desk",
    "stock in two warehouses",
)
_MAILING = "our autumn and spring offers"
_EURO_IN_BULGARIA = date(2026, 1, 1).toordinal()
_NO_END = date(9999, 12, 31).toordinal()
_CONTRACT_DAYS = deck(((365, 10), (730, 5), (1095, 2), (180, 2), (90, 1)))
_SOURCES_OF_CUSTOMERS = tuple(source for source in SOURCES if source.name in ("website", "referral", "partner"))
# Mails to a whole list: how many a month for each lead of the month, and to how many leads of ours one goes.
_MAILINGS_PER_LEAD = 0.005
_MAILED_LEADS = (3, 10)
# Of the leads: the source is spelled as it should be; a web form knows the salesperson; the account is known at once.
_PLAIN_SOURCE, _ASSIGNED_BY_FORM, _WITH_ACCOUNT = 0.955, 0.6, 0.25
_TROUBLESOME_LEADS = 0.042
_LEAD_TROUBLES = deck((("source", 32), ("salesperson", 30), ("twin", 28), ("account", 10)))
_QUOTE_TROUBLES = deck((("amount", 5), ("withdrawn", 3), ("salesperson", 2), ("lead", 2)))
_DEAL_TROUBLES = deck((("amount", 5), ("salesperson", 3), ("lead", 2), ("withdrawn", 1)))
_NEXT_PURCHASES = deck((("none", 48), ("expansion", 35), ("returning", 17)))
_WAYS_TO_BUY_AGAIN = deck((("deal", 45), ("lead", 30), ("quote", 25)))


@dataclass(slots=True)
class _Prospect:
    """Somebody we try to sell to, and what we know of them so far."""

    person: Salesperson
    won: float
    size: float
    lead_id: str | None = None
    account: str | None = None
    category: str = "new_account"
    covered_until: int = 0
    quote_id: str | None = None
    amount: int = 0


class Stories:
    """The team, its CRM and its customers; `tell` is to be called for one day after the other."""

    def __init__(self, seed: int, origin: int, leads_per_month: int, tag: str = "") -> None:
        self._dice = Dice(seed)
        self.crm = Crm(self._dice, tag)
        self._origin = origin
        self._leads_per_month = leads_per_month
        self._team = Team(self._dice, origin)
        self._recent: deque[str] = deque(maxlen=300)
        self._calls: defaultdict[int, list[_Prospect]] = defaultdict(list)

    def tell(self, day: int) -> None:
        """Have the CRM write what begins on the day; nothing of it is published before the day begins."""
        dice = self._dice
        self._team.advance(day)
        begin = midnight(day)
        for source in SOURCES:
            mean = daily_mean(source, day, self._origin, self._leads_per_month)
            hours, count = source.hours, dice.count(mean, source.evenness) if mean else 0
            for _ in range(count):
                self._lead(source, begin + dice.pick(hours) * HOUR + int(dice.random() * HOUR))
        for customer in self._calls.pop(day, ()):
            self._customer_calls(customer, day)
        if next_workday(day) == day:
            mailings = _MAILINGS_PER_LEAD * self._leads_per_month / 21
            for _ in range(int(mailings + dice.random())):
                self._mailing(day)

    # Leads

    def _lead(self, source: Source, moment: int, customer: _Prospect | None = None) -> None:
        """Let a lead come; `customer` is set where it comes from somebody who has bought before."""
        dice = self._dice
        random = dice.random
        person = self._team.pick() if customer is None else customer.person
        lead_id = self.crm.new_id("L", moment)
        event: Event = {"event_id": self.crm.new_event_id(), "occurred_at": utc_stamp(moment), "lead_id": lead_id}
        event["source"] = source.name if random() < _PLAIN_SOURCE else self._spelling(source.name)
        if source.by_hand or random() < _ASSIGNED_BY_FORM:
            event["salesperson"] = person.name
        account = customer.account if customer else self.crm.new_account() if random() < _WITH_ACCOUNT else None
        if account is not None:
            event["account_id"] = account
        recorded = self._record_lead(source, event, moment)
        self._recent.append(lead_id)
        if customer is not None or random() < source.quoted * person.diligence:
            prospect = customer or _Prospect(
                person, source.won * person.skill, source.size * person.size, account=account
            )
            prospect.lead_id = lead_id
            sent = self._offer(prospect, moment, first=True)
            # Some salespeople send the quote first and enter the lead when it turns serious.
            if recorded < sent and dice.chance(0.05):
                recorded = sent + int(dice.between(10 * MINUTE, 2 * DAY))
                event["recorded_at"] = utc_stamp(recorded)
        self.crm.write(LEAD, event, recorded)
        if random() < _TROUBLESOME_LEADS:
            self._trouble_with_lead(event, moment, recorded)

    def _record_lead(self, source: Source, event: Event, moment: int) -> int:
        """Return when the lead is written down; forms do it at once, people when they get round to it."""
        if not source.by_hand:
            return moment
        dice = self._dice
        from_fair = not source.week
        if from_fair and dice.chance(0.8):
            # Cards from the fair's stand are typed in that evening.
            recorded = midnight(local_day(moment)) + 18 * HOUR + dice.below(2 * HOUR)
        elif from_fair or dice.chance(0.06):
            recorded = office_moment(dice, local_day(moment) + 1 + dice.below(12))
        else:
            return moment
        event["recorded_at"] = utc_stamp(recorded)
        return recorded

    def _spelling(self, name: str) -> object:
        """Write the source as CRMs also do: spelled otherwise, or left out."""
        return self._dice.pick((name.title(), name.title(), f" {name.title()} ", name.upper(), f"{name} ", None, ""))

    def _trouble_with_lead(self, event: Event, moment: int, recorded: int) -> None:
        """Correct the lead later, or enter it twice and withdraw the second one."""
        dice = self._dice
        later = max(recorded + 5 * MINUTE, office_moment(dice, local_day(recorded) + int(dice.skewed(3))))
        what = dice.pick(_LEAD_TROUBLES)
        if what == "twin":
            twin = {**event, "event_id": self.crm.new_event_id(), "lead_id": self.crm.new_id("L", moment)}
            self.crm.write(LEAD, twin, recorded + dice.below(3 * MINUTE))
            withdrawn = self.crm.retract(LEAD, twin, later)
            if dice.chance(0.08):
                revived = {name: value for name, value in withdrawn.items() if name != "retracted"}
                self.crm.correct(LEAD, revived, later + dice.below(2 * DAY) + MINUTE, {"source": event["source"]})
        elif what == "source":
            self.crm.correct(LEAD, event, later, {"source": dice.pick(SOURCES).name})
        elif what == "salesperson":
            self.crm.correct(LEAD, event, later, {"salesperson": self._team.pick().name})
        else:
            self.crm.correct(LEAD, event, later, {"account_id": self.crm.new_account()})

    # Quotes

    def _offer(self, prospect: _Prospect, moment: int, *, first: bool) -> int:
        """Send a quote, perhaps a second one at another price, perhaps close; return when the first was sent."""
        dice = self._dice
        wait = dice.skewed(prospect.person.prompt)
        sent = office_moment(dice, local_day(moment) + int(wait) if first else local_day(moment) + 1)
        if sent <= moment:
            sent = office_moment(dice, local_day(moment) + 1)
        prospect.amount = self._price(prospect)
        self._quote(prospect, sent)
        last = sent
        if dice.chance(0.14):
            last = office_moment(dice, local_day(sent) + 2 + int(dice.skewed(6)))
            prospect.amount = int(prospect.amount * dice.between(0.78, 1.12))
            self._quote(prospect, last)
        # Some never answer.
        if dice.chance(0.7):
            self._close(prospect, office_moment(dice, local_day(last) + 1 + int(dice.skewed(14))))
        return sent

    def _price(self, prospect: _Prospect) -> int:
        amount = int(self._dice.lognormal(420_000 * prospect.size, 0.75))
        # Half of the prices are round.
        return amount - amount % 1000 + 1000 if self._dice.chance(0.5) else amount

    def _quote(self, prospect: _Prospect, sent: int) -> None:
        """Write the quote of the prospect's present amount."""
        dice = self._dice
        day = local_day(sent)
        prospect.person = self._team.holder(prospect.person, day)
        prospect.quote_id = self.crm.new_id("Q", sent)
        event: Event = {
            "event_id": self.crm.new_event_id(),
            "occurred_at": local_stamp(sent),
            "quote_id": prospect.quote_id,
            **self._money(prospect.amount, day),
        }
        if prospect.lead_id is not None and not dice.chance(0.02):
            event["lead_id"] = prospect.lead_id
        if prospect.account is not None or dice.chance(0.35):
            event["account_id"] = prospect.account = prospect.account or self.crm.new_account()
        if not dice.chance(0.03):
            event["salesperson"] = prospect.person.name
        if dice.chance(0.87):
            event["need"] = dice.pick(_NEEDS)
        if dice.chance(0.08):
            event["recipient_count"] = 1 + dice.below(4)
        if dice.chance(0.45):
            event["expected_close_on"] = date.fromordinal(day + 10 + dice.below(60)).isoformat()
        recorded = self._record_late(event, sent, 0.03)
        self.crm.write(QUOTE, event, recorded)
        self._trouble_with_quote(prospect, event, recorded)

    def _trouble_with_quote(self, prospect: _Prospect, event: Event, recorded: int) -> None:
        """Correct a few quotes, move some to another lead, withdraw others."""
        dice = self._dice
        if not dice.chance(0.06):
            return
        what = dice.pick(_QUOTE_TROUBLES)
        later = recorded + int(dice.between(5 * MINUTE, 6 * DAY))
        if what == "amount":
            prospect.amount = int(prospect.amount * dice.between(0.8, 1.3))
            self.crm.correct(QUOTE, event, later, self._money(prospect.amount, local_day(recorded), event))
        elif what == "salesperson":
            self.crm.correct(QUOTE, event, later, {"salesperson": self._team.pick().name})
        elif what == "lead":
            self.crm.correct(QUOTE, event, later, {"lead_id": self._some_lead()})
        else:
            self.crm.retract(QUOTE, event, later)

    def _mailing(self, day: int) -> None:
        """Mail one text to a whole list; a handful of those on it are leads of ours, and each gets its quote_sent."""
        dice = self._dice
        if not self._recent:
            return
        moment = office_moment(dice, day)
        sender = self._team.pick()
        recipients = 20 + int(380 * dice.random() * dice.random())
        money = self._money(1000 * (20 + dice.below(200)), day)
        with_need = dice.chance(0.5)
        for _ in range(_MAILED_LEADS[0] + dice.below(_MAILED_LEADS[1] - _MAILED_LEADS[0] + 1)):
            event: Event = {
                "event_id": self.crm.new_event_id(),
                "occurred_at": local_stamp(moment),
                "quote_id": self.crm.new_id("Q", moment),
                **money,
                "lead_id": dice.pick(self._recent),
                "salesperson": sender.name,
                "recipient_count": recipients,
            }
            if with_need:
                event["need"] = _MAILING
            self.crm.write(QUOTE, event, moment)

    # Deals

    def _close(self, prospect: _Prospect, closed: int) -> None:
        """Have the prospect decide: won or lost, and a few think again."""
        dice = self._dice
        day = local_day(closed)
        prospect.person = self._team.holder(prospect.person, day)
        event: Event = {
            "event_id": self.crm.new_event_id(),
            "occurred_at": local_stamp(closed),
            "deal_id": self.crm.new_id("D", closed),
        }
        if prospect.lead_id is not None and not (prospect.quote_id and dice.chance(0.05)):
            event["lead_id"] = prospect.lead_id
        if prospect.quote_id is not None and dice.chance(0.6):
            event["quote_id"] = prospect.quote_id
        if not dice.chance(0.03):
            event["salesperson"] = prospect.person.name
        won = dice.chance(prospect.won)
        if won and prospect.account is None and dice.chance(0.95):
            prospect.account = self.crm.new_account()
        if prospect.account is not None:
            event["account_id"] = prospect.account
        ends = self._outcome(event, prospect, day, won=won)
        recorded = self._record_late(event, closed, 0.06)
        self.crm.write(DEAL, event, recorded)
        stays = self._trouble_with_deal(prospect, event, recorded, won=won)
        if won and stays:
            self._plan_call(prospect, day, ends)

    def _outcome(self, event: Event, prospect: _Prospect, day: int, *, won: bool) -> int:
        """Fill in the outcome; return the last day that a won deal covers."""
        dice = self._dice
        event["outcome"] = "won" if won else "lost"
        if not won:
            if dice.chance(0.4):
                event.update(self._money(prospect.amount, day))
            return day
        agreed = prospect.amount if dice.chance(0.6) else int(prospect.amount * dice.between(0.85, 1.0))
        event.update(self._money(agreed, day))
        ends = day + 365
        if dice.chance(0.45):
            ends = _NO_END if dice.chance(0.02) else day + dice.pick(_CONTRACT_DAYS)
            event["contract_ends_on"] = date.fromordinal(ends).isoformat()
        if dice.chance(0.04):
            event["category"] = prospect.category
        return ends

    def _trouble_with_deal(self, prospect: _Prospect, event: Event, recorded: int, *, won: bool) -> bool:
        """Re-open, correct or withdraw a few deals; return whether the outcome stays as it was."""
        dice = self._dice
        if dice.chance(0.02 if won else 0.08):
            self._reopen(prospect, event, recorded)
            return False
        if not dice.chance(0.05):
            return True
        what = dice.pick(_DEAL_TROUBLES)
        later = recorded + int(dice.between(5 * MINUTE, 9 * DAY))
        if what == "amount" and won:
            agreed = int(prospect.amount * dice.between(0.8, 1.2))
            self.crm.correct(DEAL, event, later, self._money(agreed, local_day(recorded), event))
        elif what == "salesperson":
            self.crm.correct(DEAL, event, later, {"salesperson": self._team.pick().name})
        elif what == "lead":
            self.crm.correct(DEAL, event, later, {"lead_id": self._some_lead()})
        elif what == "withdrawn":
            self.crm.retract(DEAL, event, later)
        return what != "withdrawn"

    def _reopen(self, prospect: _Prospect, event: Event, recorded: int) -> None:
        """Open the same deal again, and mostly close it once more some weeks later."""
        dice = self._dice
        again = office_moment(dice, local_day(recorded) + 4 + int(dice.skewed(10)))
        closing = ("amount", "currency", "contract_ends_on", "category", "recorded_at")
        bare = {name: value for name, value in event.items() if name not in closing}
        # A new occurred_at: this is not a correction of the old closing but something that happened afterwards.
        opened = self.crm.correct(DEAL, bare, again, {"outcome": "open", "occurred_at": local_stamp(again)})
        if dice.chance(0.75):
            closed = office_moment(dice, local_day(again) + 2 + int(dice.skewed(8)))
            closing_again: Event = {"occurred_at": local_stamp(closed)}
            won = dice.chance(0.5)
            ends = self._outcome(closing_again, prospect, local_day(closed), won=won)
            self.crm.correct(DEAL, opened, closed, closing_again)
            if won:
                self._plan_call(prospect, local_day(closed), ends)

    # Customers

    def _plan_call(self, prospect: _Prospect, day: int, ends: int) -> None:
        """Plan whether the customer buys again: under contract, or after its end and more than a year later."""
        if prospect.account is None:
            return
        dice = self._dice
        covered = max(prospect.covered_until, ends)
        category = dice.pick(_NEXT_PURCHASES)
        if category == "expansion":
            call = day + 20 + dice.below(max(min(covered - day, 365) - 20, 1))
        elif category == "returning" and covered < _NO_END:
            call = max(covered, day + 365) + 10 + dice.below(160)
        else:
            return
        person = self._team.holder(prospect.person, call)
        customer = _Prospect(person, 0.8, person.size, prospect.lead_id, prospect.account, category, covered)
        self._calls[call].append(customer)

    def _customer_calls(self, customer: _Prospect, day: int) -> None:
        """Sell more to a customer: by a new lead, by a quote for the account, or straight by a deal."""
        dice = self._dice
        customer.person = self._team.holder(customer.person, day)
        moment = office_moment(dice, day)
        way = dice.pick(_WAYS_TO_BUY_AGAIN)
        if way == "lead":
            self._lead(dice.pick(_SOURCES_OF_CUSTOMERS), moment, customer)
            return
        if customer.lead_id is not None and not dice.chance(0.3):
            customer.lead_id = None
        if way == "quote":
            self._offer(customer, moment, first=False)
        else:
            customer.amount = self._price(customer) // 2
            customer.won = 0.95
            self._close(customer, moment)

    # What they share

    def _money(self, amount: int, day: int, like: Event | None = None) -> Event:
        """Write the amount (cents of a euro) as the CRM does: in euro, or in leva (as in `like`) before 2026."""
        leva = day < _EURO_IN_BULGARIA and self._dice.chance(0.14) if like is None else like.get("currency") == "BGN"
        if leva:
            amount = amount * 195583 // 100000
        return {"amount": f"{amount // 100}.{amount % 100:02d}", "currency": "BGN" if leva else "EUR"}

    def _record_late(self, event: Event, moment: int, probability: float) -> int:
        """Return when a quote or a deal is written down: now, or with this probability days later."""
        if not self._dice.chance(probability):
            return moment
        recorded = office_moment(self._dice, local_day(moment) + 1 + int(self._dice.skewed(4)))
        event["recorded_at"] = local_stamp(recorded)
        return recorded

    def _some_lead(self) -> str:
        """Draw one of the latest leads; the quotes and deals of a story come after its lead, so there is one."""
        return self._dice.pick(self._recent)
