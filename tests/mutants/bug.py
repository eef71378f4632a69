"""What a planted bug is."""

from dataclasses import dataclass


class DoesNotApplyError(Exception):
    """The text that a bug replaces is not there exactly once: the product has changed, so the bug has to."""


@dataclass(frozen=True, slots=True)
class Bug:
    """One mistake that somebody could make."""

    name: str
    harm: str
    """What goes wrong for the user, in one sentence."""
    file: str
    """From the root of the tree."""
    old: str
    """What stands there exactly once."""
    new: str
    tests: tuple[str, ...]
    """What pytest is to run, in this order; the first that fails has caught it."""

    def mutate(self, text: str) -> str:
        """Give the file's text with the bug in it.

        Raises:
            DoesNotApplyError: The old text is not there, or more than once.

        """
        found = text.count(self.old)
        if found != 1:
            raise DoesNotApplyError(f"{self.name}: its old text stands {found} times in {self.file}, not once")
        return text.replace(self.old, self.new)

    def line(self, text: str) -> int:
        """Tell the number of the first line of the file's text that it changes; raises what `mutate` raises."""
        pairs = zip(text.splitlines(), self.mutate(text).splitlines(), strict=False)
        return next((number for number, (ours, theirs) in enumerate(pairs, 1) if ours != theirs), 1)
