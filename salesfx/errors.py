"""What salesfx raises for the person who runs it."""


class SalesfxError(Exception):
    """An error with a sentence for the user: what is wrong, where, and what to do next.

    The command line prints it without a traceback and exits with `exit_status`.
    """

    exit_status = 1
    """1: running it again may help. 2: somebody has to do something first."""


class NeedsAttentionError(SalesfxError):
    """A restart alone will not help: somebody has to decide or repair something first."""

    exit_status = 2
