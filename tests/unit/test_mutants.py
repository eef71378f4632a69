"""The planted bugs of tests/mutants still fit the product."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mutants.bug import Bug, DoesNotApplyError
from tests.mutants.catalogue import BUGS
from tests.mutants.planting import ROOT, Failure, Run, read_report, verdict_of

LEAST_BUGS = 22


def text_of(bug: Bug) -> str:
    """Read the file that a bug is planted in."""
    return (ROOT / bug.file).read_text(encoding="utf-8")


def test_there_are_enough_and_no_two_of_a_name() -> None:
    """Their names are those of folders, too."""
    names = [bug.name for bug in BUGS]
    assert len(set(names)) == len(names) >= LEAST_BUGS
    assert [name for name in names if not re.fullmatch(r"[a-z0-9-]+", name)] == []
    assert len({(bug.file, bug.old, bug.new) for bug in BUGS}) == len(BUGS)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_bug_applies_and_changes_what_is_run(bug: Bug) -> None:
    """Its old text stands there exactly once; what comes out compiles, and is other code, not another comment."""
    text = text_of(bug)
    planted = bug.mutate(text)
    assert bug.line(text) > 1
    if bug.file.endswith(".py"):
        assert _code(planted) != _code(text)
    else:  # whether it compiles is for Redis or the browser to say
        comment = _COMMENTS[Path(bug.file).suffix]
        assert _without(comment, planted) != _without(comment, text)


def _code(text: str) -> str:
    compile(text, "planted.py", "exec")
    return ast.dump(ast.parse(text))


_COMMENTS = {".lua": r"--.*", ".js": r"//.*", ".css": r"/\*.*?\*/"}


def _without(comment: str, text: str) -> str:
    """Leave comments and spaces out."""
    return " ".join(re.sub(comment, "", text).split())


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_the_tests_of_a_bug_are_there(bug: Bug) -> None:
    """Each is a function of the file that is named, and the harm is a sentence."""
    assert bug.tests
    assert re.fullmatch(r"[A-Z].*\.", bug.harm)
    for test in bug.tests:
        file, _, function = test.partition("::")
        assert file.startswith("tests/")
        assert function.partition("[")[0] in set(_functions(ROOT / file)), test


def _functions(file: Path) -> Iterator[str]:
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name


@pytest.mark.parametrize("found", [0, 2])
def test_a_bug_that_does_not_fit_any_more_says_so(found: int) -> None:
    """Whoever changes the product has to change the bug, not to lose it."""
    bug = Bug("some-bug", "It hurts.", "some.py", "this", "that", ())
    with pytest.raises(DoesNotApplyError, match=f"some-bug: its old text stands {found} times in some.py, not once"):
        bug.mutate("this " * found)


def test_a_bug_names_the_line_that_it_changes() -> None:
    """Not that on which its text begins, which may be there to find the place."""
    bug = Bug("some-bug", "It hurts.", "some.py", "two\nthree\n", "two\n3\n", ())
    assert bug.line("one\ntwo\nthree\nfour\n") == 3


def run(passed: tuple[str, ...] = (), trouble: str = "", **failed: str) -> Run:
    """Make what pytest said: tests, and what those that failed said first."""
    return Run(frozenset(passed), tuple(Failure(test, said) for test, said in failed.items()), trouble, 1.0)


BUG = Bug("some-bug", "It hurts.", "some.py", "this", "that", ("t",))


@pytest.mark.parametrize(
    ("planted", "without", "why_not"),
    [
        (run(t="assert 1 == 2"), run(("t",)), ""),
        (run(t="assert 1 == 2", u="assert 3 == 4"), run(("t", "u")), ""),
        (run(("t",)), run(("t",)), "its tests pass"),
        (run(), run(("t",)), "its tests pass"),
        (run(trouble="it hung"), run(("t",)), "it hung"),
        (run(t="NameError: name 'x' is not defined"), run(("t",)), "the planted code does not run"),
        (run(t="assert 1 == 2"), run(t="assert 5 == 6"), "t does not pass without the bug either"),
        (run(t="assert 1 == 2"), run(trouble="it hung"), "it hung"),
    ],
)
def test_what_counts_as_a_catch(planted: Run, without: Run, why_not: str) -> None:
    """A test that fails, and passes without the bug; not one that hangs, nor code that does not run at all."""
    verdict = verdict_of(BUG, 7, planted, without)
    assert verdict.why_not.startswith(why_not)
    assert verdict.caught == (not why_not)
    assert verdict.line == 7


def test_a_test_that_could_not_begin_has_caught_nothing(tmp_path: Path) -> None:
    """Its fixture failed; one that was skipped has not passed either."""
    report = tmp_path / "junit.xml"
    case = '<testcase classname="tests.unit.test_x" name="test_{}">{}</testcase>'
    report.write_text(
        "<testsuites>"
        + case.format("a[1]", "")
        + case.format("b", '<error message="setup"/>')
        + case.format("c", "<skipped/>")
        + "</testsuites>"
    )
    found = read_report(report)
    assert found.passed == {"tests/unit/test_x.py::test_a[1]"}
    assert found.failed == ()
    assert found.trouble == "tests/unit/test_x.py::test_b could not begin"
    report.write_text("<x>" + case.format("a", '<failure message="assert 1 == 2&#10;more"/>') + "</x>")
    assert read_report(report).failed == (Failure("tests/unit/test_x.py::test_a", "assert 1 == 2"),)
