"""Messages of Anthropic's API become the same transcript however a client writes them."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from bridge.api.anthropic.messages_request import ask_of, parse_messages_request
from bridge.api.openai.turns import Ask
from bridge.errors import InvalidRequest
from bridge.runs.sessions.sessions import auxiliary, identify, split_turn, turn_key
from bridge.runs.sessions.turn import answers_of
from tools.definitions import names_of

READ = {"name": "Read", "description": "Read a file.", "input_schema": {"type": "object", "properties": {}}}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
PIXEL = "iVBORw0KGgo="
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
BITMAP = {"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": "AA"}}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def use(call_id: str, name: str = "Read", **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def result(call_id: str, content: Any = None, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, "content": content, **more}


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content[0] if isinstance(content[0], str) else list(content)}


def model(*content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content[0] if isinstance(content[0], str) else list(content)}


def asked(*messages: Any, **fields: Any) -> Ask:
    body = {"model": "m", "max_tokens": 1000, "messages": list(messages), **fields}
    return ask_of(parse_messages_request(body), body, 8192)


def test_the_past_and_what_came_of_its_calls() -> None:
    ask = asked(
        user("hi"),
        model(
            {"type": "thinking", "thinking": "hm", "signature": ""}, text("Looking. "), text("Now."), use("a", p="x")
        ),
        user(text("by the way"), result("a", "one")),
        model("done"),
        user("more"),
        system=[text("x-anthropic-billing-header: cc_version=1;"), text("Be brief."), text("Be kind.")],
    )
    call = {"id": "a", "type": "function", "function": {"name": "Read", "arguments": '{"p": "x"}'}}
    assert ask.messages == [
        {"role": "system", "content": "Be brief.\n\nBe kind."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Looking. Now.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "one"},
        {"role": "user", "content": "by the way"},
        {"role": "assistant", "content": "done"},
        {"role": "user", "content": "more"},
    ]


def test_results_are_texts_images_and_failures() -> None:
    ask = asked(
        user("hi"),
        model(use("a"), use("b"), use("c"), use("d"), use("e"), use("f")),
        user(
            result("b", [text("seen"), IMAGE]),
            result("a", "broken", is_error=True),
            result("d"),
            result("c", [text("1"), text("2")], is_error=False),
            result("e", is_error=True),
            result("f", [IMAGE, text("error 5")], is_error=True),
        ),
    )
    answers = answers_of(ask.messages, {"a", "b", "c", "d", "e", "f"})
    url = f"data:image/png;base64,{PIXEL}"
    assert answers.results == [
        ("b", [text("seen"), {"type": "image_url", "image_url": {"url": url}}]),
        ("a", "Error: broken"),
        ("d", ""),
        ("c", "1\n2"),
        ("e", "Error: (no output)"),
        ("f", [text("error 5"), {"type": "image_url", "image_url": {"url": url}}]),
    ]
    assert [found.tool_call_id for found in ask.results if found.is_error] == ["a", "e", "f"]


def test_a_file_in_a_result_is_named_and_one_of_the_user_goes_along() -> None:
    document = {
        "type": "document",
        "title": "a.pdf",
        "source": {"type": "base64", "media_type": "application/pdf", "data": "AA"},
    }
    plain = {
        "type": "document",
        "title": "notes",
        "source": {"type": "text", "media_type": "text/plain", "data": "buy"},
    }
    ask = asked(user("hi"), model(use("a")), user(result("a", [document]), document, plain))
    assert "a.pdf" in ask.messages[2]["content"][0]["text"]
    file = {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"}}
    assert ask.messages[3]["content"] == [file, text("notes\n\nbuy")]


def test_what_others_did_in_the_past_is_left_out() -> None:
    ask = asked(
        user("hi"),
        model(
            {"type": "redacted_thinking", "data": "x"},
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
            {"type": "of_next_year", "anything": 1},
            text("found"),
        ),
        user({"type": "mcp_tool_result", "tool_use_id": "z", "content": []}, text("and?")),
    )
    assert [message["content"] for message in ask.messages] == ["hi", "found", "and?"]


def test_a_past_that_clients_and_models_have_spoilt_is_mended() -> None:
    nameless = {"type": "tool_use", "id": None, "name": None, "input": None}
    said = asked(
        {"role": "user", "content": None},
        model(nameless),
        user({"type": "tool_result", "tool_use_id": 5, "content": {"a": 1}}),
        {"role": "assistant", "content": None},
        user(text("and?")),
    ).messages
    assert said[0] == {"role": "user", "content": ""}
    assert said[1]["tool_calls"] == [{"id": "", "type": "function", "function": {"name": "", "arguments": "{}"}}]
    assert said[2] == {"role": "tool", "tool_call_id": "5", "content": '{"a": 1}'}


@pytest.mark.parametrize("call_id", ["", "call_0", "x" * 5000, "tool.1:é"])
def test_any_id_of_the_past_is_taken(call_id: str) -> None:
    ask = asked(user("hi"), model(use(call_id)), user(result(call_id, "r")), model("ok"), user("more"))
    assert ask.messages[1]["tool_calls"][0]["id"] == call_id


@pytest.mark.parametrize(
    ("given", "tools", "choice", "parallel"),
    [
        (None, ["Read"], None, None),
        ({"type": "auto"}, ["Read"], "auto", None),
        ({"type": "any", "disable_parallel_tool_use": True}, ["Read"], "required", False),
        ({"type": "none"}, ["Read"], "none", None),
        ({"type": "tool", "name": "Read"}, ["Read"], {"type": "function", "function": {"name": "Read"}}, None),
    ],
)
def test_the_choice_among_the_tools(given: Any, tools: list[str], choice: Any, parallel: bool | None) -> None:
    ask = asked(user("hi"), tools=[READ, SEARCH], tool_choice=given)
    assert (names_of(ask.tools), ask.tool_choice, ask.parallel_tool_calls) == (tools, choice, parallel)


@pytest.mark.parametrize("choice", [{"type": "tool", "name": "web_search"}, {"type": "any"}, {"type": "auto"}])
def test_tools_of_servers_are_left_out_and_noted(choice: Any) -> None:
    assert asked(user("hi"), tools=[SEARCH], tool_choice=choice).tool_choice is None
    computer = {"type": "computer_20250124", "name": "computer", "display_width_px": 1, "display_height_px": 1}
    body = {"model": "m", "messages": [user("hi")], "tools": [READ, SEARCH, computer]}
    assert parse_messages_request(body).note == "left out, since nobody here can run them: web_search, computer"
    body = {"model": "m", "messages": [user("hi")], "mcp_servers": [{"type": "url", "name": "s", "url": "https://s"}]}
    assert parse_messages_request(body).note == "left out, since nobody here can run them: mcp_servers"


@pytest.mark.parametrize(
    ("kind", "name", "calls", "others"),
    [
        ("bash_20250124", "bash", [{"command": "ls"}, {"restart": True}], [{"command": 5}]),
        (
            "text_editor_20250728",
            "str_replace_based_edit_tool",
            [
                {"command": "view", "path": "/a", "view_range": [1, -1]},
                {"command": "insert", "path": "/a", "insert_line": 0, "insert_text": "x"},
            ],
            [{"command": "undo_edit", "path": "/a"}, {"command": "view"}],
        ),
        (
            "text_editor_20250124",
            "str_replace_editor",
            [
                {"command": "undo_edit", "path": "/a"},
                {"command": "insert", "path": "/a", "insert_line": 0, "new_str": "x"},
            ],
            [{"command": "delete", "path": "/a"}],
        ),
        (
            "memory_20250818",
            "memory",
            [
                {"command": "create", "path": "/memories/a", "file_text": "x"},
                {"command": "rename", "old_path": "/memories/a", "new_path": "/memories/b"},
            ],
            [{"command": "undo_edit", "path": "/memories/a"}],
        ),
    ],
)
def test_tools_without_a_schema_that_the_client_runs_are_functions(
    kind: str, name: str, calls: list[Any], others: list[Any]
) -> None:
    tool = {"type": kind, "name": name, "cache_control": {"type": "ephemeral"}}
    ask = asked(user("hi"), tools=[tool], tool_choice={"type": "tool", "name": name})
    assert ask.tool_choice == {"type": "function", "function": {"name": name}}
    [definition] = ask.tools
    schema = Draft202012Validator(definition.function.parameters or {})
    assert [schema.is_valid(call) for call in [*calls, *others]] == [True] * len(calls) + [False] * len(others)
    assert parse_messages_request({"model": "m", "messages": [user("hi")], "tools": [tool]}).note is None


@pytest.mark.parametrize("choice", [{"type": "tool", "name": "Write"}, {"type": "tool"}])
def test_a_choice_that_is_not_there_is_refused(choice: Any) -> None:
    with pytest.raises(InvalidRequest, match="tool_choice"):
        asked(user("hi"), tools=[READ], tool_choice=choice)


def test_what_is_for_the_model() -> None:
    schema = {"type": "object", "properties": {}}
    ask = asked(
        user("hi"),
        temperature=1,
        top_p=0.5,
        stop_sequences=["X"],
        thinking={"type": "adaptive"},
        output_config={"effort": "high", "format": {"type": "json_schema", "schema": schema}},
        context_management={"edits": []},
        metadata={"user_id": "u"},
    )
    assert ask.parameters == {
        "temperature": 1,
        "top_p": 0.5,
        "stop": ["X"],
        "max_tokens": 1000,
        "reasoning_effort": "high",
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
    }
    assert identify({}, ask.messages, ask.body).key == "u"


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"role": "tool", "content": "x"}], "messages[0].role"),
        ([user({"type": "audio"})], "messages[0].content[0].type"),
        ([user({"type": "image", "source": {"type": "file", "file_id": "f"}})], "messages[0].content[0].source"),
        ([user(result("a", [BITMAP]))], "messages[0].content[0].content[0].source.media_type"),
        ([], "messages"),
    ],
)
def test_what_cannot_be_read_is_named(messages: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asked(*messages)
    assert refused.value.param == param


# Claude Code

HEADERS = {"X-Claude-Code-Session-Id": "s"}
REMINDER = "<system-reminder>today is a day</system-reminder>\n\n"


def key(*messages: Any, headers: dict[str, str] = HEADERS) -> str:
    ask = asked(*messages, tools=[READ])
    return turn_key(identify(headers, ask.messages, ask.body), "m", ask.messages)


def test_a_turn_is_the_same_in_blocks_and_in_a_string() -> None:
    one = key(user(text(REMINDER), text("look", cache_control={"type": "ephemeral"})))
    assert one == key(user(text("look")))
    assert one == key({"role": "system", "content": "agents"}, user(f"{REMINDER}{REMINDER}look\n"))
    assert one != key(user("look"), headers=HEADERS | {"x-claude-code-agent-id": "a"})
    assert one != key(user("look around"))


def test_the_query_is_what_the_user_wrote() -> None:
    ask = asked(user(text(REMINDER), text("look")))
    assert split_turn(ask.messages).query == "look"
    later = asked(user("look"), model(use("a")), user(result("a", "r"), text(REMINDER)))
    turn = split_turn(later.messages)
    assert (turn.index, turn.query) == (0, "look")
    answers = answers_of(later.messages, {"a"})
    assert answers.said == [{"role": "user", "content": REMINDER}], "the model is told what Claude Code noticed"
    assert (answers.words, answers.new_words, answers.passed) == (0, False, False)


def test_an_unclosed_reminder_is_the_users_text() -> None:
    assert split_turn(asked(user("<system-reminder>look")).messages).query == "<system-reminder>look"


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"tools": [READ]}, None),
        ({"tools": []}, "side_call"),
        ({"tools": [SEARCH]}, "side_call"),
        ({"tools": [READ], "max_tokens": 1}, "probe"),
    ],
)
def test_calls_beside_the_session_are_known(fields: dict[str, Any], kind: str | None) -> None:
    ask = asked(user("hi"), **fields)
    assert auxiliary(HEADERS, ask.body) == kind
    assert auxiliary({}, ask.body) is None


def test_a_long_row_of_reminders_takes_no_time() -> None:
    many = REMINDER * 20_000
    assert split_turn(asked(user(many + "look")).messages).query == "look"
    assert json.dumps(split_turn(asked(user("look"), user(many)).messages).query) == '"look"'
