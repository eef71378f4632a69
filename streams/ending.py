"""The end of a worker that must not go on: a sentence, and an exit status."""

import logging
import os
import sys
from typing import NoReturn

from salesfx.errors import SalesfxError

log = logging.getLogger("salesfx.worker")


class WorkerError(SalesfxError):
    """The worker cannot go on as it is; a new one starts from what is stored."""


def end_process(error: BaseException) -> NoReturn:
    """End this process at once, saying why.

    Nothing is lost: whatever is not committed to Redis is read again. It does not unwind, because the event loop that it
    would unwind through may be the one that hangs.

    Args:
        error: A SalesfxError's sentence is for the user; of anything else the traceback is logged too.

    """
    if isinstance(error, SalesfxError):
        sentence, status = str(error), error.exit_status
    else:
        log.critical("unexpected error", exc_info=error)
        sentence, status = f"unexpected {type(error).__name__}: {error}", 1
    print(f"salesfx worker: {sentence}", file=sys.stderr, flush=True)  # noqa: T201 - the last words of the process
    logging.shutdown()
    os._exit(status)
