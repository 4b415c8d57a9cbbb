"""Responses as Codex asks for them: kinds of tools, history of other makers, threads and side calls."""

import json
from typing import Any

import httpx
import pytest

from demo.stack import Stack
from tests.e2e.conftest import call, upstream_log

Item = dict[str, Any]
# One pixel.
PNG = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
SPAWN = {"type": "function", "name": "spawn_agent", "parameters": {"type": "object", "properties": {}}, "strict": False}
EXEC = {"type": "function", "name": "exec_command", "parameters": {"type": "object", "properties": {}}}
TOOLS: list[Item] = [
    EXEC,
    {"type": "namespace", "name": "multi_agent_v1", "description": "Agents.", "tools": [SPAWN]},
    {
        "type": "custom",
        "name": "apply_patch",
        "format": {"type": "grammar", "syntax": "lark", "definition": "start: X"},
    },
    {"type": "local_shell"},
    {"type": "shell"},
    {"type": "tool_search", "execution": "client", "parameters": {"type": "object", "properties": {}}},
    {"type": "web_search", "external_web_access": False},
]
WEB_SEARCH_LEFT_OUT = "tools that nobody here can run were left out: web_search"


def ask(stack: Stack, status: int = 200, **body: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {stack.client_token}", **body.pop("headers", {})}
    body = {"model": "minimal", "tools": TOOLS, "store": False, **body}
    response = httpx.post(f"{stack.base_url}/responses", json=body, headers=headers, timeout=60)
    assert response.status_code == status, response.text
    return response


def say(text: str) -> Item:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def output_of(item: Item, output: Any = "done") -> Item:
    kind = {"function_call": "function_call_output", "tool_search_call": "tool_search_output"}
    said = {"tools": [EXEC | {"name": "found"}]} if item["type"] == "tool_search_call" else {"output": output}
    return {"type": kind.get(item["type"], f"{item['type']}_output"), "call_id": item["call_id"], **said}


@pytest.mark.parametrize(
    ("directive", "told"),
    [
        (
            call("exec_command", cmd="ls"),
            {"type": "function_call", "name": "exec_command", "arguments": '{"cmd": "ls"}'},
        ),
        (
            call("multi_agent_v1__spawn_agent", message="look"),
            {"type": "function_call", "name": "spawn_agent", "namespace": "multi_agent_v1"},
        ),
        (call("apply_patch", input="*** x"), {"type": "custom_tool_call", "name": "apply_patch", "input": "*** x"}),
        (call("local_shell", command=["ls"]), {"type": "local_shell_call"}),
        (
            call("shell", commands=["ls"], timeout_ms=5),
            {
                "type": "shell_call",
                "action": {"commands": ["ls"], "timeout_ms": 5, "max_output_length": None},
                "environment": {"type": "local"},
            },
        ),
        (call("tool_search", query="x"), {"type": "tool_search_call", "arguments": {"query": "x"}}),
    ],
)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_call_is_given_back_as_its_kind(stack: Stack, directive: str, told: Item, streamed: bool) -> None:
    asked = say(f"{directive}\n!then\n!say done")
    answer = ask(stack, input=[asked], stream=streamed)
    if streamed:
        events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
        (item,) = [event["item"] for event in events if event["type"] == "response.output_item.done"]
        assert events[-1]["response"]["output"] == [item]
        note = events[-1]["response"]["clawback"]["note"]
    else:
        (item,), note = answer.json()["output"], answer.json()["clawback"]["note"]
    assert item | told == item
    assert note == WEB_SEARCH_LEFT_OUT
    for named in (item, {"type": "item_reference", "id": item["id"]}):
        went_on = ask(stack, input=[asked, named, output_of(item)])
        assert went_on.headers["x-clawback-run"] == answer.headers["x-clawback-run"]
        assert "done" in went_on.json()["output"][0]["content"][0]["text"]


PATCH = {"type": "create_file", "path": "a.txt", "diff": "+a"}


@pytest.mark.parametrize(("status", "output"), [("completed", "made a.txt"), ("failed", None)])
def test_a_patch_is_the_client_s_to_apply_and_the_model_is_told_whether_it_was(
    stack: Stack, status: str, output: str | None
) -> None:
    tools = {"tools": [{"type": "apply_patch"}], "tool_choice": {"type": "apply_patch"}}
    asked = say(f"Patch, and say {status}.\n{call('apply_patch', operation=PATCH)}\n!then\n!say done")
    (item,) = ask(stack, input=[asked], **tools).json()["output"]
    assert (item["type"], item["operation"]) == ("apply_patch_call", PATCH)
    result = output_of(item, output) | {"status": status}
    ask(stack, input=[asked, item, result], **tools)
    (*_, last) = upstream_log(stack, f"Patch, and say {status}.")
    (told,) = [message for message in last["request"]["messages"] if message["role"] == "tool"]
    assert told["content"].endswith("\n".join(filter(None, [status, output])))


def test_a_shell_in_a_container_of_openai_s_is_left_out(stack: Stack) -> None:
    hosted = {"type": "shell", "environment": {"type": "container_auto"}}
    assert ask(stack, input="hi", tools=[hosted]).json()["clawback"]["note"].endswith("left out: shell")


def search(call_id: str, *found: Item) -> list[Item]:
    return [
        {"type": "tool_search_call", "call_id": call_id, "execution": "client", "arguments": {"query": "x"}},
        {"type": "tool_search_output", "call_id": call_id, "execution": "client", "tools": list(found)},
    ]


FOUND = EXEC | {"name": "found"}


def test_what_a_search_has_found_is_on_offer(stack: Stack) -> None:
    asked = say(f"{call('tool_search', query='x')}\n!then\n{call('found', a=1)}\n!then\n!say done")
    (item,) = ask(stack, input=[asked]).json()["output"]
    (found,) = ask(stack, input=[asked, item, output_of(item)]).json()["output"]
    assert found["name"] == "found"


def descriptions(stack: Stack, text: str) -> list[tuple[str, str]]:
    """Return the tools that the model was offered last, by what this text says."""
    offered = upstream_log(stack, text)[-1]["request"]["tools"]
    return [(tool["function"]["name"], tool["function"].get("description", "")) for tool in offered]


@pytest.mark.parametrize("declared", [[], [FOUND | {"defer_loading": True}]], ids=["found", "declared"])
def test_a_tool_that_is_found_again_is_one_tool_and_its_last_definition_counts(
    stack: Stack, declared: list[Item]
) -> None:
    changed = FOUND | {"description": "Newer."}
    history = [*search("s1", FOUND), *search("s2", changed), *search("s3", FOUND), *search("s4", changed)]
    text = f"Found {len(declared)}, again and again."
    answer = ask(stack, input=[say("a"), *history, say(f"{text}\n!say ok")], tools=declared).json()
    assert answer["tools"][-1]["description"] == "Newer."
    assert descriptions(stack, text) == [("found", "Newer.")]


def test_tools_that_an_item_of_the_input_brings_are_on_offer(stack: Stack) -> None:
    brought = {"type": "additional_tools", "role": "developer", "tools": [*TOOLS[:2], TOOLS[-1]]}
    spawn = call("multi_agent_v1__spawn_agent", message="look")
    asked = say(f"{call('exec_command', cmd='ls')}\n!then\n{spawn}\n!then\n!say done")
    first = ask(stack, input=[brought, asked], tools=None)
    (item,) = first.json()["output"]
    assert (item["name"], first.json()["clawback"]["note"]) == ("exec_command", WEB_SEARCH_LEFT_OUT)
    second = ask(stack, input=[brought, asked, item, output_of(item), brought], tools=None)
    (item,) = second.json()["output"]
    assert (item["name"], item["namespace"]) == ("spawn_agent", "multi_agent_v1")
    assert len(second.json()["tools"]) == len(brought["tools"]), "what is brought again is the same tool"


def test_tools_that_items_bring_count_for_the_limit(stack: Stack) -> None:
    many = {"type": "additional_tools", "tools": [EXEC | {"name": f"tool_{number}"} for number in range(1001)]}
    assert ask(stack, 400, input=[many, say("hi")]).json()["error"]["code"] == "too_many_tools"


def test_tools_that_an_item_brought_stay_on_offer_in_the_responses_that_follow(stack: Stack) -> None:
    brought = {"type": "additional_tools", "role": "developer", "tools": [EXEC]}
    first = ask(stack, input=[brought, say("!say hi")], tools=None, store=True).json()
    asked = say(f"{call('exec_command', cmd='ls')}\n!then\n!say done")
    following = {"tools": None, "previous_response_id": first["id"]}
    (item,) = ask(stack, input=[asked], **following).json()["output"]
    assert item["name"] == "exec_command"
    newer = following | {"tools": [EXEC | {"description": "Newer."}]}
    assert ask(stack, input=[say("Which is it?\n!say hi")], **newer).status_code == 200
    assert descriptions(stack, "Which is it?") == [("exec_command", "Newer.")]


@pytest.mark.parametrize(
    "item",
    [
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {"type": "compaction", "encrypted_content": "z"},
        {"type": "custom_tool_call", "call_id": "x", "name": "apply_patch", "input": "y"},
        {"type": "local_shell_call", "call_id": "x", "action": {"type": "exec", "command": ["ls"]}},
        {"type": "function_call", "call_id": "x" * 300, "name": "n", "namespace": "s", "arguments": {"a": 1}},
        {"type": "function_call_output", "call_id": "gone", "output": "x"},
        {"type": "item_reference", "id": "rs_unknown"},
        {"type": "mcp_list_tools", "id": "mcp_1", "server_label": "x", "tools": []},
    ],
    ids=lambda item: item["type"],
)
def test_history_of_other_makers_is_kept_or_skipped(stack: Stack, item: Item) -> None:
    ask(stack, input=[say("a"), item, say("!say ok")])


@pytest.mark.parametrize("fields", [{}, {"role": "user", "content": "!say no"}, {"id": 5}])
def test_an_item_of_an_unknown_kind_is_left_out_with_a_note(stack: Stack, fields: Item) -> None:
    unknown = {"type": "telepathy", **fields}
    answer = ask(stack, input=[say("a"), unknown, say("!say ok"), unknown], tools=None, store=True).json()
    assert answer["output"][0]["content"][0]["text"] == "ok"
    assert answer["clawback"]["note"] == "items of unknown kinds were left out: telepathy"


def test_an_item_of_no_kind_is_refused_by_its_type(stack: Stack) -> None:
    error = ask(stack, 400, input=[say("a"), {"type": None, "role": "user", "content": "b"}]).json()["error"]
    assert error["param"] == "input[1].type"


def test_a_hosted_tool_that_must_be_called_is_refused(stack: Stack) -> None:
    ask(stack, 400, input="hi", tool_choice={"type": "web_search"})


def test_images_and_text_files_in_an_output_reach_the_model(stack: Stack) -> None:
    asked = say(f"{call('exec_command')}\n!then\n!say seen it")
    (item,) = ask(stack, input=[asked]).json()["output"]
    parts = [
        {"type": "input_text", "text": "here"},
        {"type": "input_image", "image_url": PNG},
        {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,aGVsbG8gZmlsZQ=="},
    ]
    ask(stack, input=[asked, item, output_of(item, parts)])
    (*_, last) = upstream_log(stack, "hello file")
    assert PNG in json.dumps(last["request"]["messages"])
    pdf = [{"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}]
    refused = ask(stack, 400, input=[asked, item, output_of(item, pdf)]).json()["error"]
    assert refused["param"] == "input[2].output[0]"
    ask(stack, input=[asked, item, output_of(item, pdf), say("!say later")])


def test_an_output_finds_its_call_by_reference_and_without_it(stack: Stack) -> None:
    asked = say(f"{call('exec_command')}\n!then\n!say done")
    for told in ([], [{"type": "item_reference", "id": "fc_{}"}]):
        first = ask(stack, input=[asked])
        (item,) = first.json()["output"]
        referred = [reference | {"id": item["id"]} for reference in told]
        went_on = ask(stack, input=[asked, *referred, output_of(item)])
        assert went_on.headers["x-clawback-run"] == first.headers["x-clawback-run"]
