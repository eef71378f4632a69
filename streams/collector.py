"""Python's garbage collector, which would look at the objects of a batch in vain."""

import gc


def spare_collector() -> None:
    """Let it run seldom: a batch makes thousands of short-lived objects and no cycles."""
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
