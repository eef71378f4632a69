"""Whether a store's tables may be added to under the definitions in force."""

from salesfx.definitions import Definitions, brings_back, differences, only_adds_rates, only_withdraws
from salesfx.tables.store import DefinitionsChangedError


def may_upgrade(stored: bytes, ours: Definitions) -> bool:
    """Tell whether the stored definitions are to be replaced by ours; False where they are the same.

    Raises:
        DefinitionsChangedError: Ours mean something else.

    """
    if stored == ours.canonical():
        return False
    if only_adds_rates(stored, ours.canonical()):
        return True
    raise definitions_changed(stored, ours)


def definitions_changed(stored: bytes, ours: Definitions) -> DefinitionsChangedError:
    """Say what changed and what to do."""
    if brings_back(stored, ours):
        return DefinitionsChangedError(
            f"{'; '.join(differences(stored, ours.canonical()))}. What is withdrawn stays withdrawn: give this process the "
            "newest list (`forgotten_file` in the settings, SALESFX_FORGOTTEN_FILE), as `salesfx forget` has written it; "
            "see docs/forget.md"
        )
    changes = "; ".join(differences(stored, ours.canonical())) or "their fingerprint"
    if only_withdraws(stored, ours):
        return DefinitionsChangedError(
            f"{changes}. So what is withdrawn is named in these tables: Redis was put back to a time before, or a withdrawal was "
            "interrupted. `salesfx forget --again` withdraws it from them; it needs no names. See docs/forget.md"
        )
    return DefinitionsChangedError(
        f"the definitions have changed since the tables were made: {changes}. Tables of different meanings are never "
        "mixed. Put the settings back, or run `salesfx rebuild` with the new ones: it makes the tables anew from the log, "
        "beside the old ones, and shows what differs before it puts them in their place."
    )


def definitions_lost(key: str) -> DefinitionsChangedError:
    """Say that there are tables of which nobody knows what they mean."""
    return DefinitionsChangedError(
        f"the key {key}, which says what the tables mean, is gone, but the tables are there. Put it back from a backup, or "
        "set `namespace` to a new name: its tables are then made from Kafka's log from the beginning."
    )
