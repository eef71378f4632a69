"""The salespeople: who is there on a day, how they differ, who takes over from whom."""

from dataclasses import dataclass

from .chance import Dice

_NAMES = (
    *(
        "Maria",
        "Georgi",
        "Elena",
        "Ivan",
        "Desislava",
        "Nikolay",
        "Petya",
        "Stoyan",
        "Raya",
        "Dimitar",
        "Vesela",
        "Kiril",
    ),
    *("Yana", "Todor", "Milena", "Plamen", "Gergana", "Boris", "Nadya", "Asen", "Siyana", "Viktor", "Kalina", "Hristo"),
)
_SURNAME_INITIALS = "KPSDVNGTBMIR"
_DESKS = 9
# The last desk is new: its first holder starts some months after the simulation does.
_NEW_DESK_OPENS = 210


@dataclass(slots=True, eq=False)
class Salesperson:
    """One of the team, with what makes them different from the others."""

    name: str
    joins: int
    """Their first day (ordinal)."""
    leaves: int
    """The first day on which they are no longer there."""
    pace: int
    """Their share of the leads, in parts: 4 to 7."""
    prompt: float
    """Typical days until they send a quote."""
    diligence: float
    """How much more often than the average they follow a lead up."""
    skill: float
    """How much more often than the average they win."""
    size: float
    """How much larger than the average their deals are."""


class Team:
    """Eight people, later nine; now and then one leaves, and some weeks later somebody follows at their desk."""

    def __init__(self, dice: Dice, origin: int) -> None:
        self._dice = dice
        self._hired = 0
        self._desks = [self._hire(origin, dice.between(0.35, 5.5)) for _ in range(_DESKS - 1)]
        self._desks.append(self._hire(origin + _NEW_DESK_OPENS, dice.between(1.5, 6.0)))
        self._deck: list[Salesperson] = []
        self._deck_holds_until = origin

    def advance(self, day: int) -> None:
        """Bring the team to the day, which must not be before that of the call before."""
        if day < self._deck_holds_until:
            return
        for desk, person in enumerate(self._desks):
            if person.leaves <= day:
                self._desks[desk] = self._hire(person.leaves + 15 + self._dice.below(45), self._dice.between(1.2, 6.0))
        self._deck = [person for person in self._desks if person.joins <= day for _ in range(person.pace)]
        self._deck_holds_until = min(
            person.leaves if person.joins <= day else min(person.joins, person.leaves) for person in self._desks
        )

    def pick(self) -> Salesperson:
        """Draw who gets the next lead."""
        return self._dice.pick(self._deck)

    def holder(self, person: Salesperson, day: int) -> Salesperson:
        """Return who looks after that person's customers on the day: a colleague, where they have left by then."""
        if day < person.leaves:
            return person
        colleague = self.pick()
        return colleague if day < colleague.leaves else person

    def _hire(self, joins: int, years: float) -> Salesperson:
        dice = self._dice
        turn, number = divmod(self._hired, len(_NAMES))
        self._hired += 1
        # When all the names have been had, surnames tell the next Maria from the first.
        surname = f" {_SURNAME_INITIALS[(turn - 1) % len(_SURNAME_INITIALS)]}." if turn else ""
        return Salesperson(
            name=_NAMES[number] + surname,
            joins=joins,
            leaves=joins + int(years * 365),
            pace=4 + dice.below(4),
            prompt=dice.between(0.6, 4.0),
            diligence=dice.between(0.75, 1.25),
            skill=dice.between(0.7, 1.3),
            size=dice.between(0.6, 1.5),
        )
