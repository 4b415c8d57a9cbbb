"""Calls that a client got as text, and their results in plain turns, are understood."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.openclaw_text.plain_turns import (
    ELSEWHERE,
    PlainResult,
    read_openclaw_calls,
    read_openclaw_results,
    with_calls,
)
from tools.openclaw_text.writer import write_openclaw_calls

TWO = write_openclaw_calls([("read", {"path": "a"}), ("exec", {"command": "ls"})])
USER = {"role": "user", "content": "Do it."}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def answer(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def outputs(*texts: str) -> list[str]:
    return [result.output for result in read_openclaw_results(texts, ["read", "exec"])]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
CALLS = st.lists(
    st.tuples(st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True), st.dictionaries(st.text(), JSON)),
    min_size=1,
    max_size=4,
)


@given(CALLS)
def test_what_the_writer_writes_is_read_back(calls: list[tuple[str, dict[str, Any]]]) -> None:
    read = read_openclaw_calls(f" {write_openclaw_calls(calls)}\n")
    assert [(name, json.loads(arguments)) for name, arguments in read] == calls


@given(st.text('[]{}readEND_TOOL_REQUEST\n "'))
def test_any_text_can_be_looked_at(text: str) -> None:
    read_openclaw_calls(text)
    assert len(read_openclaw_results([text], ["read", "exec"])) == 2
    assert with_calls([USER, said(text)])[-1]["role"] == "assistant"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hello.",
        f"Sure:\n{TWO}",
        f"{TWO}\nThere.",
        "[read]\n{}",
        "[read]\n[]\n[END_TOOL_REQUEST]",
        "[read]\n{\n[END_TOOL_REQUEST]",
    ],
)
def test_text_that_is_more_or_less_than_calls_is_text(text: str) -> None:
    assert read_openclaw_calls(text) == []
    assert with_calls([USER, said(text), answer("ok")]) == [USER, said(text), answer("ok")]


@pytest.mark.parametrize(
    "texts",
    [
        ["[read]\none\n[END_TOOL_RESULT]\n[exec]\ntwo\n[END_TOOL_RESULT]"],
        ["[exec]\ntwo\n[END_TOOL_RESULT]\n[read]\none\n[END_TOOL_RESULT]"],
        ["[TOOL_RESULT]one[END_TOOL_RESULT]\n[TOOL_RESULT]two[END_TOOL_RESULT]"],
        ["[TOOL_RESULT read]\none\n[END_TOOL_RESULT]\n\n[TOOL_RESULT exec]\ntwo\n[END_TOOL_RESULT]"],
        ['<tool_response name="exec">\ntwo\n</tool_response>\n<tool_response name="read">\none\n</tool_response>'],
        ["<tool_response>\none\n</tool_response>", "<tool_response>\ntwo\n</tool_response>"],
        ['[{"name": "exec", "output": "two"}, {"name": "read", "output": "one"}]'],
        ['{"tool_results": [{"tool_call_id": "1", "output": "one"}, {"tool_call_id": "2", "output": "two"}]}'],
        ["one", "two"],
    ],
)
def test_several_results_are_told_apart(texts: list[str]) -> None:
    assert outputs(*texts) == ["one", "two"]


def test_results_that_cannot_be_told_apart_are_the_first_calls() -> None:
    assert outputs("one and two") == ["one and two", ELSEWHERE]
    assert outputs("[read]\none\n[END_TOOL_RESULT]\nand more") == [
        "[read]\none\n[END_TOOL_RESULT]\nand more",
        ELSEWHERE,
    ]


def test_one_result_is_the_whole_text_whatever_is_in_it() -> None:
    for data in (
        '[{"id": 1}, {"id": 2}]',
        '{"name": "left-pad", "content": "a package"}',
        "a file with <tool_response>\nmarks\n</tool_response> in it",
        "[other]\nmarked\n[END_TOOL_RESULT]",
    ):
        assert read_openclaw_results([data], ["read"]) == [PlainResult(data)]
    assert read_openclaw_results(["# A\n", "B"], ["read"]) == [PlainResult("# A\n\n\nB")]


def test_an_error_says_that_it_is_one() -> None:
    told = '[{"name": "read", "output": "no such file", "is_error": true}]'
    read = with_calls([USER, said(write_openclaw_calls([("read", {})])), answer(told)])
    assert read[-1]["content"] == "Error: no such file"


def test_rounds_become_tool_calls_and_tool_messages() -> None:
    transcript = [USER, said(TWO), answer("one"), answer("two"), said(TWO), answer("again"), said("Done."), USER]
    read = with_calls(transcript)
    assert [message["role"] for message in read] == [
        "user", "assistant", "tool", "tool", "assistant", "tool", "tool", "assistant", "user",
    ]  # fmt: skip
    ids = [call["id"] for message in read for call in message.get("tool_calls", ())]
    assert len(set(ids)) == 4
    assert [message["tool_call_id"] for message in read if message["role"] == "tool"] == ids
    assert [message["content"] for message in read if message["role"] == "tool"] == ["one", "two", "again", ELSEWHERE]
    assert with_calls(transcript) == read


def test_a_clients_own_tool_messages_answer_in_order() -> None:
    own = [{"role": "tool", "tool_call_id": f"x{n}", "content": text} for n, text in enumerate(["one", "two"])]
    read = with_calls([USER, said(TWO), *own])
    assert [m["tool_call_id"] for m in read[2:]] == [call["id"] for call in read[1]["tool_calls"]]
    assert [m["content"] for m in read[2:]] == ["one", "two"]


def test_calls_without_results_yet_stay_open() -> None:
    read = with_calls([USER, said(TWO)])
    assert [call["function"]["name"] for call in read[-1]["tool_calls"]] == ["read", "exec"]


def test_a_client_that_has_tool_calls_keeps_them() -> None:
    structured = [
        USER,
        {"role": "assistant", "content": TWO, "tool_calls": [{"id": "callabc"}]},
        {"role": "tool", "tool_call_id": "callabc", "content": "ok"},
        answer("Go on."),
    ]
    assert with_calls(structured) == structured
