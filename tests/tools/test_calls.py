"""Tool calls come out of streamed deltas as the model meant them, however the server cuts and numbers them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.calls import ToolCallAssembler, arguments_problem


def assembled(*deltas: dict[str, Any]) -> list[tuple[str, str]]:
    assembler = ToolCallAssembler()
    for delta in deltas:
        assembler.feed(delta)
    return [(call.name, call.arguments) for call in assembler.calls()]


def delta(
    index: int | None, call_id: str | None = None, name: str | None = None, arguments: Any = None
) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    made: dict[str, Any] = {"function": function}
    if index is not None:
        made["index"] = index
    if call_id is not None:
        made["id"] = call_id
    return made


def test_interleaved_parallel_calls_are_kept_apart_by_index() -> None:
    assert assembled(
        delta(0, "a", "read", ""),
        delta(1, "b", "exec", ""),
        delta(1, arguments='{"command":'),
        delta(0, arguments='{"path":"x"}'),
        delta(1, arguments='"ls"}'),
    ) == [("read", '{"path":"x"}'), ("exec", '{"command":"ls"}')]


def test_a_server_that_numbers_every_call_zero_starts_a_new_call_with_a_new_id() -> None:
    assert assembled(delta(0, "a", "read", '{"path":"1"}'), delta(0, "b", "read", '{"path":"2"}')) == [
        ("read", '{"path":"1"}'),
        ("read", '{"path":"2"}'),
    ]


def test_a_server_without_indexes_continues_the_last_call() -> None:
    assert assembled(delta(None, "a", "read", '{"pa'), delta(None, arguments='th":"1"}'), delta(None, "b", "ls")) == [
        ("read", '{"path":"1"}'),
        ("ls", "{}"),
    ]


def test_an_id_repeated_on_every_delta_stays_one_call() -> None:
    assert assembled(delta(0, "a", "read", '{"pa'), delta(0, "a", "read", 'th":"1"}')) == [("read", '{"path":"1"}')]


def test_arguments_that_come_as_an_object_become_json_text() -> None:
    assert assembled(delta(0, "a", "read", {"path": "é"})) == [("read", '{"path": "é"}')]


def test_a_call_without_a_name_is_none() -> None:
    assert assembled(delta(0, "a", "", "{}")) == []


@given(
    st.lists(
        st.tuples(st.sampled_from(["read", "exec"]), st.dictionaries(st.text(max_size=5), st.text(max_size=20))),
        min_size=1,
        max_size=5,
    ),
    st.randoms(use_true_random=False),
)
def test_any_cut_and_any_interleaving_gives_the_same_calls(
    calls: list[tuple[str, dict[str, str]]], random: Any
) -> None:
    rows = []
    for index, (name, arguments) in enumerate(calls):
        text = json.dumps(arguments)
        cuts = sorted(random.sample(range(len(text) + 1), min(3, len(text))))
        pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        rows.append([delta(index, f"id{index}", name, ""), *(delta(index, arguments=piece) for piece in pieces)])
    deltas = [row.pop(0) for row in rows]
    while any(rows):
        deltas.append(random.choice([row for row in rows if row]).pop(0))
    assert assembled(*deltas) == [(name, json.dumps(arguments)) for name, arguments in calls]


def test_ids_are_ours_and_have_the_form_that_survives_openclaw() -> None:
    ids = []
    for _ in range(2):
        assembler = ToolCallAssembler()
        assembler.feed(delta(0, "call_abc-1", "read", "{}"))
        ids.append(assembler.calls()[0].id)
    assert ids[0] != ids[1]
    assert all(one.isalnum() and len(one) <= 40 for one in ids)


def test_a_draft_is_the_beginning_of_the_call_under_the_same_id() -> None:
    assembler = ToolCallAssembler()
    assembler.feed(delta(0, "a", "write", ' {"content": "one'))
    (draft,) = assembler.drafts()
    assembler.feed(delta(0, "", "", ' two"} '))
    (call,) = assembler.calls()
    assert (draft.id, draft.name, draft.arguments) == (call.id, "write", '{"content": "one')
    assert call.arguments == '{"content": "one two"}'
    assert assembler.drafts()[0].arguments == call.arguments


def test_a_draft_stops_where_the_arguments_are_no_json_any_more() -> None:
    assembler = ToolCallAssembler()
    assembler.feed(delta(0, "a", "write", '{"content": "say "hi" there"}'))
    assert assembler.drafts()[0].arguments == '{"content": "say '


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [("{}", None), ('{"a":1}', None), ("[]", "must be a JSON object"), ("{", "not valid JSON"), ("", "not valid JSON")],
)
def test_arguments_that_are_no_json_object_are_named(arguments: str, problem: str | None) -> None:
    found = arguments_problem(arguments)
    assert (found is None) if problem is None else (problem in str(found))


def test_arguments_too_deep_to_be_read_are_a_problem_and_no_crash() -> None:
    assert "not valid JSON" in (arguments_problem('{"a":' * 100_000) or "")


@pytest.mark.parametrize("begun_first", [True, False])
def test_calls_of_one_id_are_kept_apart_by_their_places(begun_first: bool) -> None:
    def head(index: int, name: str) -> dict[str, Any]:
        return {"index": index, "id": "same", "function": {"name": name, "arguments": ""}}

    def rest(index: int, piece: str) -> dict[str, Any]:
        return {"index": index, "id": "same", "function": {"arguments": piece}}

    first, second = [rest(0, '{"a"'), rest(0, ":1}")], [rest(1, '{"a"'), rest(1, ":2}")]
    heads = [head(0, "read"), head(1, "read" if not begun_first else "exec")]
    deltas = [*heads, *first, *second] if begun_first else [heads[0], *first, heads[1], *second]
    assembler = ToolCallAssembler()
    for delta in deltas:
        assembler.feed(delta)
    assert [call.arguments for call in assembler.calls()] == ['{"a":1}', '{"a":2}']


def test_a_call_said_once_more_at_another_place_is_one_call() -> None:
    assembler = ToolCallAssembler()
    for index in (1, 0):
        assembler.feed({"index": index, "id": "same", "function": {"name": "read", "arguments": '{"a":1}'}})
    assert len(assembler.calls()) == 1
