"""What users read must speak of what there is."""

import re
from pathlib import Path

import msgspec
import pytest

from salesfx.cli import COMMANDS
from salesfx.events import EVENT_TYPES
from salesfx.refusal import Reason
from salesfx.settings import Settings
from tests.mutants.bug import Bug
from tests.mutants.catalogue import BUGS

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def _page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


SETTINGS = [field.name for field in msgspec.structs.fields(Settings) if field.name != "forgotten"]
"""What is in the file that `forgotten_file` names is no setting."""


@pytest.mark.parametrize("field", SETTINGS)
def test_every_setting_is_documented(field: str) -> None:
    """docs/settings.md names every setting."""
    assert f"`{field}`" in _page("docs/settings.md")


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_of_a_refusal_has_its_remedy(reason: Reason) -> None:
    """docs/dead-letters.md has a row for every reason."""
    assert f"| `{reason}` |" in _page("docs/dead-letters.md")


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_is_documented(command: str) -> None:
    """Some page shows every command."""
    assert any(f"salesfx {command}" in page.read_text(encoding="utf-8") for page in PAGES)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_every_planted_bug_is_published(bug: Bug) -> None:
    """docs/reliability.md says of each what it would do."""
    assert f"| `{bug.name}` | {bug.harm} |" in _page("docs/reliability.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """No link or picture points at a file that is not there."""
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} points at {target}"


def test_every_field_of_every_event_is_documented() -> None:
    """docs/events.md names every field that a CRM may publish."""
    text = _page("docs/events.md")
    for event_type in EVENT_TYPES.values():
        for field in msgspec.structs.fields(event_type):
            assert f"`{field.name}`" in text, field.name
