"""Names and ids that are withdrawn: what becomes of events, and that nothing else changes."""

import json
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from salesfx.audit.recomputation import read_event, recomputed_cells
from salesfx.cli.forget import forget
from salesfx.decoder import decode
from salesfx.definitions import (
    Definitions,
    brings_back,
    brings_names_back,
    differences,
    made_under,
    only_adds_rates,
    only_withdraws,
    same_but_for_the_list,
)
from salesfx.doctor import withdrawn as examine_list
from salesfx.forgetting import FORGOTTEN_NEED, Forgetting
from salesfx.forgotten import TOKEN_PREFIX, Forgotten, Kind, SealedListError
from salesfx.forgotten_file import ForgottenFileError, pending, read_forgotten, remove_pending, write_forgotten
from salesfx.kpi import Cells
from salesfx.lead import DEAL_STAND_IN, LEAD, DealFacts, LeadFacts, QuoteFacts, canonical
from salesfx.reading.reader import RecordDamagedError
from salesfx.rebuilding.forgotten_list import check_readers
from salesfx.rebuilding.renaming import (
    MOST_TRACES,
    Mentioned,
    Mentions,
    Traces,
    people_withdrawn,
    same_cells,
    unequal,
)
from salesfx.rebuilding.withdrawal import Withdrawal
from salesfx.refusal import Refused
from salesfx.rules import Rules
from salesfx.settings import Settings, SettingsError, load_settings
from salesfx.tables import ViewLostError
from tests.events_strategy import DEFINITIONS, events
from tests.folding import FoldedTables

Message = tuple[str, bytes]
FORGOTTEN = (
    Forgotten()
    .with_values(Kind.SALESPERSON, ["maria", "Ivan"])
    .with_values(Kind.LEAD, ["L1"])
    .with_values(Kind.ACCOUNT, ["A1"])
)
WITHDRAWN = msgspec.structs.replace(DEFINITIONS, forgotten=FORGOTTEN)
KIND_OF = {"salesperson": Kind.SALESPERSON, "lead_id": Kind.LEAD, "account_id": Kind.ACCOUNT}


def token(kind: Kind, value: str) -> str:
    """Give what stands for a value."""
    found = FORGOTTEN.token_of(kind, value)
    assert found is not None
    return found


def folded(messages: list[Message], definitions: Definitions) -> FoldedTables:
    """Fold events, one batch."""
    tables = FoldedTables(Rules(definitions))
    tables.take(messages)
    return tables


def applied(topic: str, **fields: Any) -> Any:
    """Apply the rule to one event."""
    content = {"event_id": "e1", "occurred_at": "2026-10-01T10:00:00Z", **fields}
    event = decode(topic, json.dumps(content).encode())
    Forgetting(FORGOTTEN).apply(event)
    return event


def told_apart(messages: list[Message]) -> list[Message]:
    """Give every event an id of its own, so that no two versions tie and contents decide nothing."""
    return [
        (topic, json.dumps({**json.loads(value), "event_id": f"e{number}"}).encode())
        for number, (topic, value) in enumerate(messages)
    ]


def written_anew(message: Message) -> Message:
    """Write a message as if the CRM had never known the names: an independent statement of the rule."""
    topic, fields = message[0], json.loads(message[1])
    for field, kind in KIND_OF.items():
        value = fields.get(field)
        if isinstance(value, str):
            value = value.strip() if kind is Kind.SALESPERSON else value
            stands = FORGOTTEN.token_of(kind, value)
            fields[field] = stands or fields[field]
            if stands and kind is not Kind.SALESPERSON and fields.get("need"):
                fields["need"] = FORGOTTEN_NEED
    return topic, json.dumps(fields).encode()


def renamed(cells: Cells) -> Cells:
    """Put tokens in the place of the salespeople."""
    names = {f"salesperson={name}": f"salesperson={token(Kind.SALESPERSON, name)}" for name in ("maria", "Ivan")}

    def field(written: str) -> str:
        head, sign, person = written.partition("salesperson=")
        return head + names.get(sign + person, sign + person)

    return {(when, field(written)): number for (when, written), number in cells.items()}


@given(st.lists(events, max_size=25))
def test_a_withdrawal_is_a_renaming(messages: list[Message]) -> None:
    """For any events the tables are the same, but for the names of salespeople; no total and no other cell changes."""
    messages = told_apart(messages)
    before, after = folded(messages, DEFINITIONS).cells, folded(messages, WITHDRAWN).cells
    assert after == renamed(before)
    tokens = {name: token(Kind.SALESPERSON, name) for name in ("maria", "Ivan")}
    assert unequal(before, after, tokens) == []


@given(st.lists(events, max_size=25), st.data())
def test_records_are_those_of_events_that_never_had_the_names(messages: list[Message], data: st.DataObject) -> None:
    """Also where versions tie, in any order, and delivered again: whole records, and cells."""
    wanted = folded([written_anew(message) for message in messages], DEFINITIONS)
    found = FoldedTables(Rules(WITHDRAWN))
    for message in [*data.draw(st.permutations(messages)), *messages[:3]]:
        found.take([message])
    assert found.cells == wanted.cells
    assert contents(found.records) == contents(wanted.records)


def contents(records: dict[str, bytes]) -> dict[str, Any]:
    """Read records, whatever the order of what lives in them."""
    return {ref: msgspec.msgpack.decode(content) for ref, content in records.items()}


@given(st.lists(events, max_size=25))
def test_both_implementations_agree(messages: list[Message]) -> None:
    """What an audit from the log recomputes is what the worker makes, names withdrawn or not."""
    assert recomputed_cells(messages, WITHDRAWN) == folded(messages, WITHDRAWN).cells


@given(events)
def test_both_implementations_order_versions_alike(message: Message) -> None:
    """Contents that decide a tie are the same bytes in both."""
    topic, value = message
    try:
        event = decode(topic, value)
        Rules(WITHDRAWN).price(event.facts)
    except Refused:
        return
    Forgetting(FORGOTTEN).apply(event)
    entity = {"lead_created": "lead_id", "quote_sent": "quote_id", "deal_closed": "deal_id"}[topic]
    ours = canonical(entity, event.key, event.standing, event.facts)
    assert read_event(topic, value, WITHDRAWN).canonical == ours


def test_a_lead_is_withdrawn_from_all_three_topics() -> None:
    """Its own event, its quotes and its deals live under the token, and what a quote says is needed is gone."""
    lead = applied("lead_created", lead_id="L1", source="web", salesperson="petar", account_id="A2")
    assert (lead.key, lead.ref) == (token(Kind.LEAD, "L1"), LEAD + token(Kind.LEAD, "L1"))
    assert lead.facts == LeadFacts("web", "petar", "A2")
    quote = applied("quote_sent", quote_id="Q1", lead_id="L1", amount=1, currency="EUR", need="a wheelchair for Ann")
    assert quote.standing.home == lead.ref
    assert isinstance(quote.facts, QuoteFacts)
    assert (quote.facts.lead_id, quote.facts.need) == (lead.key, FORGOTTEN_NEED)
    deal = applied("deal_closed", deal_id="D1", lead_id="L1", quote_id="L1", outcome="lost")
    assert deal.standing.home == lead.ref
    assert isinstance(deal.facts, DealFacts)
    assert deal.facts.quote_id == "L1", "a quote's id is no lead's"


def test_a_retraction_of_a_withdrawn_lead_is_of_the_token() -> None:
    """It withdraws the lead that is counted under the token; nothing with the id appears again."""
    assert applied("lead_created", lead_id="L1", retracted=True).ref == LEAD + token(Kind.LEAD, "L1")


def test_only_the_exact_value_of_its_kind_is_withdrawn() -> None:
    """An account with a lead's id, another spelling of a name, a need of a quote that a withdrawn salesperson sent: all stay."""
    deal = applied("deal_closed", deal_id="L1", account_id="L1", salesperson="Maria", outcome="lost")
    assert (deal.key, deal.facts.account_id, deal.facts.salesperson) == ("L1", "L1", "Maria")
    assert deal.standing.home == DEAL_STAND_IN + "L1"
    quote = applied("quote_sent", quote_id="Q1", salesperson=" maria ", amount=1, currency="EUR", need="crm")
    assert (quote.facts.salesperson, quote.facts.need) == (token(Kind.SALESPERSON, "maria"), "crm")
    no_need = applied("quote_sent", quote_id="Q1", account_id="A1", amount=1, currency="EUR")
    assert (no_need.facts.account_id, no_need.facts.need) == (token(Kind.ACCOUNT, "A1"), None)


def test_applied_twice_it_changes_nothing() -> None:
    """A batch is merged again after a conflict, from the same events."""
    event = applied("quote_sent", quote_id="Q1", lead_id="L1", account_id="A1", amount=1, currency="EUR", need="x")
    before = msgspec.msgpack.encode(event)
    Forgetting(FORGOTTEN).apply(event)
    assert msgspec.msgpack.encode(event) == before


def test_what_is_stored_beside_the_tables_has_neither_name_nor_key() -> None:
    """Who can read Redis cannot try names: that needs the key."""
    stored = WITHDRAWN.canonical().decode()
    assert FORGOTTEN.key not in stored
    assert not any(name in stored for name in ("maria", "Ivan", '"L1"', '"A1"', *(e.digest for e in FORGOTTEN.entries)))
    assert made_under(WITHDRAWN.canonical(), WITHDRAWN).fingerprint == WITHDRAWN.fingerprint
    sealed = msgspec.json.decode(WITHDRAWN.canonical(), type=Definitions)
    assert sealed.fingerprint == WITHDRAWN.fingerprint
    longer = msgspec.structs.replace(WITHDRAWN, forgotten=FORGOTTEN.with_values(Kind.LEAD, ["L2"]))
    assert made_under(WITHDRAWN.canonical(), longer).forgotten == FORGOTTEN
    with pytest.raises(ValueError, match="not there"):
        recomputed_cells(
            [("lead_created", b'{"lead_id":"L9","event_id":"e","occurred_at":"2026-10-01T10:00:00Z"}')], sealed
        )
    with pytest.raises(SealedListError, match="forgotten_file"):
        folded([("lead_created", b'{"lead_id":"L9","event_id":"e","occurred_at":"2026-10-01T10:00:00Z"}')], sealed)


def test_nothing_withdrawn_leaves_the_fingerprint_as_it_was() -> None:
    """Tables that were made before this existed need no rebuild."""
    assert b"forgotten" not in Definitions().canonical()


def test_tokens_are_random_and_one_for_each_value() -> None:
    """The same value gets the same token in one list, and another in another; nothing can be read from it."""
    again = FORGOTTEN.with_values(Kind.SALESPERSON, ["maria", "new"])
    assert again.token_of(Kind.SALESPERSON, "maria") == token(Kind.SALESPERSON, "maria")
    tokens = [entry.token for entry in again.entries]
    assert len(set(tokens)) == len(tokens) == 5
    assert all(each.startswith(TOKEN_PREFIX) and len(each) == len(TOKEN_PREFIX) + 32 for each in tokens)
    other = Forgotten().with_values(Kind.SALESPERSON, ["maria"])
    assert other.entries[0].digest != FORGOTTEN.entries[0].digest
    assert other.entries[0].token != FORGOTTEN.entries[0].token
    drawn = FORGOTTEN.redrawn(3)
    assert [entry.digest for entry in drawn.entries] == [entry.digest for entry in FORGOTTEN.entries]
    assert drawn.entries[3].token != FORGOTTEN.entries[3].token
    assert drawn.entries[:3] == FORGOTTEN.entries[:3]
    assert not drawn.goes_on_from(FORGOTTEN)
    assert again.goes_on_from(FORGOTTEN)
    assert not FORGOTTEN.goes_on_from(again)
    assert not other.goes_on_from(FORGOTTEN)


def test_an_interrupted_withdrawal_gives_its_tokens_and_nothing_else() -> None:
    """What was begun goes on with the same token, and what somebody then did not ask for again is not withdrawn."""
    begun = FORGOTTEN.with_values(Kind.SALESPERSON, ["petar", "georgi"])
    now = FORGOTTEN.with_values(Kind.SALESPERSON, ["petar"], begun)
    assert now.token_of(Kind.SALESPERSON, "petar") == begun.token_of(Kind.SALESPERSON, "petar")
    assert now.token_of(Kind.SALESPERSON, "georgi") is None
    first = Forgotten().with_values(Kind.LEAD, ["L1"])
    assert Forgotten().with_values(Kind.LEAD, ["L1"], first) == first, "the first one has drawn the key"
    other = Forgotten().with_values(Kind.LEAD, ["L1"])
    assert FORGOTTEN.with_values(Kind.LEAD, ["L9"], other).goes_on_from(FORGOTTEN), "of another list nothing is taken"


def test_an_older_list_would_bring_names_back_and_is_told_apart() -> None:
    """The sentence counts; a longer list brings nothing back, and a withdrawal is no added rate."""
    longer = msgspec.structs.replace(WITHDRAWN, forgotten=FORGOTTEN.with_values(Kind.LEAD, ["L2"]))
    assert brings_back(longer.canonical(), WITHDRAWN)
    assert not brings_back(WITHDRAWN.canonical(), longer)
    assert brings_back(WITHDRAWN.canonical(), DEFINITIONS)
    assert not only_adds_rates(DEFINITIONS.canonical(), WITHDRAWN.canonical())
    [sentence] = differences(longer.canonical(), WITHDRAWN.canonical())
    assert "5 names and ids were withdrawn from the tables; by the list here it is 4" in sentence


def test_tables_that_name_again_what_is_withdrawn_are_told_apart() -> None:
    """From those of other settings, of other rules, and of another list; only the first have a command that needs no names."""
    ours, before = WITHDRAWN, DEFINITIONS.canonical()
    assert only_withdraws(before, ours)
    assert not only_withdraws(ours.canonical(), ours)
    assert not only_withdraws(ours.canonical(), DEFINITIONS)
    for name, value in (("timezone", "UTC"), ("timezone_rules", "0"), ("rules_version", 0)):
        changed = json.dumps({**json.loads(before), name: value}).encode()
        assert not only_withdraws(changed, ours)
        assert not same_but_for_the_list(changed, ours)
    assert same_but_for_the_list(before, ours)
    assert same_but_for_the_list(ours.canonical(), DEFINITIONS)


def test_which_tables_would_bring_names_back() -> None:
    """Those made under a shorter list, or under another one; a longer list than is known here brings none."""
    longer = msgspec.structs.replace(WITHDRAWN, forgotten=FORGOTTEN.with_values(Kind.LEAD, ["L2"])).canonical()
    ours, none = WITHDRAWN.canonical(), DEFINITIONS.canonical()
    other = msgspec.structs.replace(
        WITHDRAWN, forgotten=Forgotten().with_values(Kind.LEAD, ["L1", "L2", "L3", "L4"])
    ).canonical()
    brought = [brings_names_back(each, ours) for each in (none, ours, longer, other)]
    assert brought == [True, False, False, True]
    assert not brings_names_back(none, none)


def test_the_file_is_private_and_damage_is_told(tmp_path: Path) -> None:
    """What is written is read again; a list that others may read, or that is damaged, is refused with what to do."""
    path = tmp_path / "forgotten.json"
    assert read_forgotten(path) is None
    write_forgotten(path, FORGOTTEN)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_forgotten(path) == FORGOTTEN
    assert list(tmp_path.iterdir()) == [path]
    path.chmod(0o640)
    write_forgotten(path, FORGOTTEN)
    assert path.stat().st_mode & 0o777 == 0o640, "a group that could read it can do so still"
    path.chmod(0o644)
    with pytest.raises(ForgottenFileError, match="chmod 600"):
        read_forgotten(path)
    path.chmod(0o600)
    for damaged in (b"", b"{}", path.read_bytes()[:-20], path.read_bytes().replace(FORGOTTEN.key.encode(), b"00" * 32)):
        path.write_bytes(damaged)
        with pytest.raises(ForgottenFileError, match="Put a copy of it back"):
            read_forgotten(path)
    assert pending(path).name == "forgotten.json.pending"


OPERATOR, DAEMON = 54321, 1
"""A user who has no account, and the account `daemon` with the group of that name, which every Unix has."""


def as_operator(groups: list[int], do: Callable[[], object]) -> bool:
    """Do something as a user of some groups, in a process of its own; tell whether it raised nothing."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(groups)
            os.setresgid(OPERATOR, OPERATOR, OPERATOR)
            os.setresuid(OPERATOR, OPERATOR, OPERATOR)
            do()
        except ForgottenFileError:
            os._exit(1)
        except BaseException:  # noqa: BLE001 - it must not come out into the other tests
            os._exit(2)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, 1}
    return status == 0


@pytest.fixture
def owned() -> Iterator[Path]:
    """Give a list in a folder that everybody may write to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        path = Path(folder) / "forgotten.json"
        write_forgotten(path, FORGOTTEN)
        yield path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users")
def test_workers_can_read_the_list_that_another_user_writes(owned: Path) -> None:
    """Owner and group stay where root writes it, the group where one of its members does; the group decides who may read."""
    os.chown(owned, DAEMON, DAEMON)
    owned.chmod(0o640)
    write_forgotten(owned, FORGOTTEN)
    assert owner_of(owned) == (DAEMON, DAEMON, 0o640)
    assert as_operator([DAEMON], lambda: check_readers(owned))
    assert as_operator([DAEMON], lambda: write_forgotten(owned, FORGOTTEN))
    assert owner_of(owned) == (OPERATOR, DAEMON, 0o640)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users")
@pytest.mark.parametrize(
    ("owner", "mode", "groups", "can_be"),
    [
        (DAEMON, 0o640, [DAEMON], True),
        (DAEMON, 0o640, [], False),
        (DAEMON, 0o600, [DAEMON], False),
        (OPERATOR + 1, 0o640, [DAEMON], False),
        (OPERATOR, 0o600, [], True),
        (OPERATOR, 0o640, [], False),
        (OPERATOR, 0o640, [DAEMON], True),
    ],
)
def test_a_list_that_its_readers_would_lose_is_not_begun_with(
    owned: Path, owner: int, mode: int, groups: list[int], can_be: bool
) -> None:
    """Before the tables are made: afterwards no worker could start. Of a user without an account the groups are not known."""
    os.chown(owned, owner, DAEMON)
    owned.chmod(mode)
    assert as_operator(groups, lambda: check_readers(owned)) is can_be
    check_readers(owned)  # root gives files to anybody
    if owner == OPERATOR and mode == 0o640 and not groups:
        assert as_operator(groups, lambda: write_forgotten(owned, FORGOTTEN))
        assert owner_of(owned) == (OPERATOR, OPERATOR, 0o600), "another group may not read it"


async def test_a_withdrawal_looks_at_the_readers_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another user than the list's owner: nothing is read or made but what the settings are compared with."""
    path = tmp_path / "forgotten.json"
    write_forgotten(path, FORGOTTEN)
    settings = Settings(forgotten_file=str(path), forgotten=FORGOTTEN)
    live = SimpleNamespace(number="1", shown=True, definitions=Definitions().canonical())

    async def there() -> list[SimpleNamespace]:
        return [live]

    tables: Any = SimpleNamespace(generations=SimpleNamespace(all=there))
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + OPERATOR)
    with pytest.raises(ForgottenFileError, match="Nothing was begun"):
        await Withdrawal(settings, tables, tables).plan(Kind.LEAD, ["L9"])


def owner_of(path: Path) -> tuple[int, int, int]:
    """Give owner, group and mode of a file."""
    found = path.stat()
    return found.st_uid, found.st_gid, found.st_mode & 0o777


def test_a_list_that_cannot_be_removed_is_told(tmp_path: Path) -> None:
    """It is no fault of Redis."""
    path = tmp_path / "forgotten.json"
    remove_pending(path)
    pending(path).mkdir()
    with pytest.raises(ForgottenFileError, match=r"cannot remove .*pending"):
        remove_pending(path)


def test_what_is_no_fault_of_redis_is_not_put_down_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or a terminal that cannot be used is told as that."""

    async def broken(*_: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr("salesfx.cli.forget._forget", broken)
    settings = Settings(forgotten_file=str(tmp_path / "forgotten.json"))
    result = CliRunner().invoke(forget, ["lead", "L1", "--yes"], obj=settings)
    assert isinstance(result.exception, PermissionError)


@pytest.mark.parametrize("words", [[], ["lead"], ["--again", "lead", "L1"]])
def test_what_is_to_be_withdrawn_is_said_once(words: list[str]) -> None:
    """By names, or by the list."""
    assert CliRunner().invoke(forget, [*words, "--yes"], obj=Settings()).exit_code == 2


def test_doctor_says_whether_the_list_is_there(tmp_path: Path) -> None:
    """Where one is named: without it names would come back into tables that are empty."""
    path = tmp_path / "forgotten.json"
    named = Settings(forgotten_file=str(path))
    assert examine_list(Settings()) == []
    assert [each.detail for each in examine_list(named)] == [
        f"forgotten_file names {path}, which is not there: nothing is withdrawn"
    ]
    write_forgotten(path, FORGOTTEN)
    told = examine_list(load_settings(environ={"SALESFX_FORGOTTEN_FILE": str(path)}))
    assert [each.detail for each in told] == [f"4 names and ids are withdrawn by {path}"]


def test_the_settings_take_the_list_from_the_file(tmp_path: Path) -> None:
    """It is part of the definitions, not shown with the settings, and cannot be written among them."""
    path = tmp_path / "forgotten.json"
    write_forgotten(path, FORGOTTEN)
    settings = load_settings(environ={"SALESFX_FORGOTTEN_FILE": str(path)})
    assert settings.definitions.forgotten == FORGOTTEN
    assert FORGOTTEN.key not in str(settings.masked())
    absent = load_settings(environ={"SALESFX_FORGOTTEN_FILE": str(tmp_path / "none.json")})
    assert not absent.definitions.forgotten
    config = tmp_path / "salesfx.toml"
    config.write_text("forgotten = {}\n")
    with pytest.raises(SettingsError, match="forgotten_file"):
        load_settings(config, environ={})


def test_it_is_counted_what_names_a_value() -> None:
    """By leads, quotes and deals; names that differ in capitals and spaces only are told, and the leads of an account."""
    at = {"event_id": "e", "occurred_at": "2026-10-01T10:00:00Z"}
    money = {"amount": 1, "currency": "EUR"}
    messages = [
        (topic, json.dumps({**at, **fields}).encode())
        for topic, fields in (
            ("lead_created", {"lead_id": "L1", "salesperson": "maria", "account_id": "A1"}),
            ("lead_created", {"lead_id": "L2", "salesperson": "MARIA "}),
            ("quote_sent", {"quote_id": "Q1", "lead_id": "L1", "salesperson": "maria", **money}),
            ("quote_sent", {"quote_id": "Q2", "account_id": "A1", "salesperson": "petar", **money}),
            ("deal_closed", {"deal_id": "D1", "lead_id": "L1", "salesperson": "maria", "outcome": "open"}),
        )
    ]
    records = folded(messages, DEFINITIONS).records

    def mentioned(kind: Kind, value: str) -> Mentioned:
        found = Mentioned(kind, [value])
        for ref, content in records.items():
            if ref.startswith(("lead:", "lead-of-")):
                found.add(ref, content)
        return found

    people = mentioned(Kind.SALESPERSON, "maria")
    assert (people.of, people.similar) == ({"maria": Mentions(1, 1, 1)}, {"MARIA": 1})
    assert mentioned(Kind.LEAD, "L1").of == {"L1": Mentions(1, 1, 1)}
    accounts = mentioned(Kind.ACCOUNT, "A1")
    assert (accounts.of, list(accounts.leads_of)) == ({"A1": Mentions(1, 1, 0)}, ["L1"])


@pytest.mark.parametrize(
    ("text", "value", "found"),
    [
        ("L1", "L1", True),
        ("e-l1-2", "L1", True),
        ("for L1.", "L1", True),
        ("L12", "L1", False),
        ("XL1", "L1", False),
        ("L12 and L1", "L1", True),
        ("dr. Maria  Ivanova", "Maria Ivanova", False),
        ("for MARIA IVANOVA-P", "Maria Ivanova", True),
        ("xl-17", "L-17", False),
        ("(l-17)", "(L-17)", True),
        ("x(L-17)", "(L-17)", False),
        ("a _?_ b", "_?_", True),
    ],
)
def test_what_still_holds_a_value_is_found(text: str, value: str, found: bool) -> None:
    """As a word of its own, in whatever text of a record, capitals or not; among many values too."""
    for values in ([value], [*(f"N{number}" for number in range(500)), value]):
        traces = Traces(values)
        traces.add("quote:Q7", msgspec.msgpack.encode(["x", {"Q1": [1, text]}]))
        assert traces.found == [("quote:Q7", text)] * found


def test_traces_are_not_flooded() -> None:
    """Plain numbers are no traces; of a text that thousands of records have some are listed, and all of others."""
    traces = Traces(["17", "Web"])
    for number in range(3000):
        traces.add(f"lead:L{number}", msgspec.msgpack.encode(["web", "17", "17.00"]))
    traces.add("quote:Q1", msgspec.msgpack.encode(["ask Web"]))
    assert len(traces.found) == 21
    assert traces.found[-1] == ("quote:Q1", "ask Web")
    for number in range(3000):
        traces.add(f"lead:M{number}", msgspec.msgpack.encode([f"web {number}"]))
    assert len(traces.found) == MOST_TRACES


def test_a_changed_number_is_named() -> None:
    """The proof before the swap: a total, a person's cell under another name, two people made one."""
    at = "2026-10"
    live = {(at, "leads|source=web"): 2, (at, "leads|salesperson=maria"): 1, (at, "leads|salesperson=x"): 1}
    same = {(at, "leads|source=web"): 2, (at, "leads|salesperson=t"): 1, (at, "leads|salesperson=x"): 1}
    assert unequal(live, same, {"maria": "t"}) == []
    assert unequal(live, {**same, (at, "leads|source=web"): 3}, {"maria": "t"}) == ["2026-10 leads|source=web"]
    assert unequal(live, live, {"maria": "t"}) == ["2026-10 leads|salesperson=maria", "2026-10 leads|salesperson=t"]
    one = {(at, "leads|source=web"): 2, (at, "leads|salesperson=x"): 1}
    assert "two salespeople have become one" in unequal(live, one, {"maria": "x"})
    odd = {(at, "leads|source=salesperson=maria"): 1}
    assert unequal(odd, odd, {"maria": "t"}) == [], "a source may be called so"


def test_the_names_of_cells_are_known_by_the_list() -> None:
    """So that tables that name again what is withdrawn can be compared without anybody who knows the names."""
    at = "2026-10"
    fields = ("leads|salesperson=maria", "deals|category=new,salesperson=Ivan", "leads|salesperson=petar")
    cells = {(at, field): 1 for field in (*fields, "leads|source=maria", "leads|source=salesperson=maria")}
    assert people_withdrawn(cells, FORGOTTEN) == {name: token(Kind.SALESPERSON, name) for name in ("maria", "Ivan")}


class LosesViews:
    """Tables of which the first views are lost while they are read."""

    def __init__(self, records: dict[str, bytes], lost: int) -> None:
        self._records, self._lost = records, lost

    @asynccontextmanager
    async def view(self, _tables: object, _generation: str) -> AsyncIterator["LosesViews"]:
        """Open one."""
        yield self

    async def scan(self, *_kinds: str) -> AsyncIterator[dict[str, bytes]]:
        """Give all records, and lose the view then."""
        yield self._records
        self._lost -= 1
        if self._lost >= 0:
            raise ViewLostError("lost")


def withdrawal_from(tables: LosesViews) -> Withdrawal:
    """Make a withdrawal of such tables."""
    stub: Any = tables
    return Withdrawal(Settings(forgotten_file="forgotten.json"), stub, stub)


async def test_the_search_begins_again_where_the_view_is_lost() -> None:
    """What was found by then is not listed twice; a view that is lost each time is told."""
    records = {"lead:L40": msgspec.msgpack.encode(["as for L1"])}
    assert await withdrawal_from(LosesViews(records, 2)).traces("2", ["L1"]) == [("lead:L40", "as for L1")]
    with pytest.raises(ViewLostError):
        await withdrawal_from(LosesViews(records, 99)).traces("2", ["L1"])


async def test_a_damaged_record_is_told_by_the_search() -> None:
    """As readers tell it: with the command that names it."""
    with pytest.raises(RecordDamagedError, match="`salesfx audit` names it"):
        await withdrawal_from(LosesViews({"lead:L40": b"\xc1"}, 0)).traces("2", ["L1"])


def test_the_same_cells_are_known_under_other_tokens() -> None:
    """Where they differ again with other tokens, a third draw would not help."""
    first = [f"2026-10 leads|salesperson={token(Kind.SALESPERSON, 'maria')}", "2026-10 leads|source=web"]
    second = [f"2026-10 leads|salesperson={token(Kind.SALESPERSON, 'Ivan')}", "2026-10 leads|source=web"]
    assert same_cells(first, second)
    assert not same_cells(first, second[1:])
