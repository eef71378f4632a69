"""Loaded into the pytest of every planted bug: it must test the planted copy, and come to its verdict quickly."""

from pathlib import Path

import pytest
from hypothesis import Phase, settings

import salesfx
import streams

# What counts is that there is an example, not which is the least.
settings.register_profile("mutants", phases=(Phase.explicit, Phase.generate), print_blob=False)
settings.load_profile("mutants")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to test any code but that of the copy.

    Raises:
        pytest.UsageError: The installed code would be tested, in which there is no bug.

    """
    for package in (salesfx, streams):
        lies = Path(str(package.__file__)).resolve()
        if not lies.is_relative_to(config.rootpath.resolve()):
            raise pytest.UsageError(f"{lies} would be tested, which is not in {config.rootpath}")
