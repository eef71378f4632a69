"""Run a command that ends when the process that started it ends (Linux). A script, not a module to import.

Usage: python -I -S die_with_parent.py PARENT_PID COMMAND [ARGUMENT ...]

The kernel's promise (PR_SET_PDEATHSIG) survives the exec, so the server keeps this script's pid and nothing stays
between the two. Where it cannot be had, the command runs without it: the next start stops what was left behind.
"""

import contextlib
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Ask for SIGTERM at the parent's death, then become the command."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:  # it died before the promise was given
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
