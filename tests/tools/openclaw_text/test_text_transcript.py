"""A conversation with tools becomes one that a server without tools accepts."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.choices import named
from tools.openclaw_text.families import FAMILIES, Family
from tools.openclaw_text.text_transcript import to_text_messages
from tools.openclaw_text.writer import write_calls

HERMES = FAMILIES["hermes"]
READ = {
    "type": "function",
    "function": {
        "name": "read",
        "description": "Read a file.",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    },
}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


def call(call_id: str, path: str) -> dict[str, Any]:
    function = {"name": "read", "arguments": json.dumps({"path": path})}
    return {"id": call_id, "type": "function", "function": function}


def result(call_id: str, content: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Compare a and b."},
    {"role": "assistant", "content": "I read both.", "tool_calls": [call("c1", "a"), call("c2", "b")]},
    result("c1", "AAA"),
    result("c2", "BBB"),
    {"role": "user", "content": [{"type": "text", "text": "<context>"}]},
]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=str)
def test_a_round_becomes_the_models_text_and_one_user_message(family: Family) -> None:
    system, user, assistant, results = to_text_messages(CONVERSATION, [READ], "auto", family).messages
    assert system["content"].startswith("Be brief.\n\n# Tools")
    assert user == CONVERSATION[1]
    calls = write_calls([("read", {"path": "a"}), ("read", {"path": "b"})], family)
    assert assistant == {"role": "assistant", "content": f"I read both.\n\n{calls}"}
    assert results["role"] == "user"
    assert results["content"].index("AAA") < results["content"].index("BBB") < results["content"].index("<context>")


def test_kimi_counts_its_calls_through_the_whole_conversation() -> None:
    again = [
        *CONVERSATION,
        {"role": "assistant", "tool_calls": [call("c3", "c")], "content": None},
        result("c3", "CCC"),
    ]
    messages = to_text_messages(again, [READ], "auto", FAMILIES["kimi"]).messages
    assert "## Return of functions.read:1\nBBB" in messages[3]["content"]
    assert "functions.read:2<|" in messages[4]["content"]
    assert messages[5]["content"] == "## Return of functions.read:2\nCCC"


def test_all_system_and_developer_messages_become_the_first() -> None:
    given_messages = [
        {"role": "developer", "content": "One."},
        {"role": "system", "content": [{"type": "text", "text": "Two."}]},
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "Three."},
    ]
    assert to_text_messages(given_messages, [], None, HERMES).messages == [
        {"role": "system", "content": "One.\n\nTwo.\n\nThree."},
        {"role": "user", "content": "Hi"},
    ]


def test_images_stay_with_their_user_and_those_of_results_go_along() -> None:
    given_messages = [
        {"role": "user", "content": [{"type": "text", "text": "See"}, IMAGE]},
        {"role": "assistant", "content": None, "tool_calls": [call("c1", "x.png")]},
        result("c1", [{"type": "text", "text": "an image"}, IMAGE]),
        {"role": "user", "content": "Well?"},
    ]
    user, _, results = to_text_messages(given_messages, [], "auto", HERMES).messages
    assert user["content"] == [{"type": "text", "text": "See"}, IMAGE]
    shown = '<tool_response name="read">\nan image\n</tool_response>'
    assert results["content"] == [{"type": "text", "text": shown}, IMAGE, {"type": "text", "text": "Well?"}]


def test_a_conversation_that_the_assistant_begins_gets_a_user_first() -> None:
    messages = to_text_messages([{"role": "assistant", "content": "你好"}], [], None, HERMES, "zh").messages
    assert messages == [{"role": "user", "content": "（对话开始。）"}, {"role": "assistant", "content": "你好"}]


def test_a_forced_call_is_asked_for_where_the_model_looks_last() -> None:
    ask = [{"role": "user", "content": "Read a."}]

    def last(choice: Any, tools: list[dict[str, Any]]) -> str:
        return str(to_text_messages(ask, tools, choice, HERMES).messages[-1]["content"])

    assert last("required", [READ]) == "Read a.\n\n(Call a tool in this reply.)"
    assert last(named("read"), [READ]) == "Read a.\n\n(Call `read` in this reply.)"
    assert last("auto", [READ]) == last("required", []) == last("none", [READ]) == "Read a."


def test_arguments_that_are_no_json_object_are_shown_to_the_model_as_it_wrote_them() -> None:
    for wrong in ('{"path": "a', '["a"]'):
        broken = call("c1", "a") | {"function": {"name": "read", "arguments": wrong}}
        assistant = {"role": "assistant", "content": None, "tool_calls": [broken]}
        given_messages = [{"role": "user", "content": "Go"}, assistant, result("c1", "Not JSON")]
        assert wrong in to_text_messages(given_messages, [READ], "auto", HERMES).messages[2]["content"]


def test_arguments_may_be_an_object_already() -> None:
    def written(arguments: Any) -> Any:
        asked = call("c1", "a") | {"function": {"name": "read", "arguments": arguments}}
        assistant = {"role": "assistant", "content": None, "tool_calls": [asked]}
        return to_text_messages([{"role": "user", "content": "Go"}, assistant], [READ], "required", HERMES).messages[1:]

    assert written({"path": "a"}) == written('{"path": "a"}')
    assert written({}) == written("") == written(None)


def test_a_result_whose_call_is_gone_is_still_shown() -> None:
    orphan = [{"role": "user", "content": "Go"}, result("c9", "late") | {"name": "read"}, result("c8", "later")]
    content = to_text_messages(orphan, [], "auto", HERMES).messages[0]["content"]
    assert '<tool_response name="read">\nlate\n' in content
    assert '<tool_response name="tool">\nlater\n' in content


def test_what_the_model_is_not_told_comes_as_warnings() -> None:
    wordy = {"type": "function", "function": READ["function"] | {"description": "So much. " * 100}}
    assert "read" in to_text_messages(CONVERSATION, [wordy], "auto", HERMES, budget_tokens=30).warnings[0]


CONTENTS = st.one_of(
    st.none(),
    st.sampled_from(["", "text"]),
    st.lists(st.sampled_from([IMAGE, {"type": "text", "text": "t"}, {"type": "text", "text": ""}]), max_size=3),
)
MESSAGES = st.lists(
    st.one_of(
        st.builds(
            lambda role, content: {"role": role, "content": content}, st.sampled_from(["system", "user"]), CONTENTS
        ),
        st.builds(
            lambda content, ids: {"role": "assistant", "content": content, "tool_calls": [call(i, "a") for i in ids]},
            st.sampled_from([None, "", "said"]),
            st.lists(st.sampled_from("xyz"), max_size=2),
        ),
        st.builds(result, st.sampled_from("xyz"), CONTENTS),
    ),
    max_size=8,
)


@settings(deadline=None)
@given(MESSAGES, st.sampled_from([[], [READ]]), st.sampled_from(list(FAMILIES.values())))
def test_a_strict_server_accepts_any_conversation(
    messages: list[dict[str, Any]], tools: list[dict[str, Any]], family: Family
) -> None:
    written = to_text_messages(messages, tools, "auto", family).messages
    assert all(set(message) == {"role", "content"} and message["content"] for message in written)
    turns = [message["role"] for message in written if message["role"] != "system"]
    assert [message["role"] for message in written] == (["system"] if len(written) > len(turns) else []) + turns
    assert turns == ["user", "assistant"] * (len(turns) // 2) + ["user"] * (len(turns) % 2)
    for message in written:
        if isinstance(message["content"], list):
            assert message["role"] == "user"
            assert IMAGE in message["content"]
