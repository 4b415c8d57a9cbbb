"""A model that knows nothing of tools writes its calls as text."""

from typing import Any

import httpx
import pytest

from demo.scripted.text_formats import FORMATS
from tests.demo.scripted.conversation import TOOLS, calls, result, user

SYSTEM = {"role": "system", "content": "You may use read(path: string, limit: integer) and list()."}
SCRIPT = user("!say Two things.", '!call read {"path": "a\\"b", "limit": 3}', "!call list", "!then", "!say Done.")

# How the two calls of SCRIPT look.
WRITTEN = {
    "bare_json": '{"name": "read", "arguments": {"path": "a\\"b", "limit": 3}}\n{"name": "list", "arguments": {}}',
    "json_array": '[{"name": "read", "arguments": {"path": "a\\"b", "limit": 3}}, {"name": "list", "arguments": {}}]',
    "fenced_json": '```json\n{"name": "read", "arguments": {"path": "a\\"b", "limit": 3}}\n```\n'
    '```json\n{"name": "list", "arguments": {}}\n```',
    "hermes_json": '<tool_call>\n{"name": "read", "arguments": {"path": "a\\"b", "limit": 3}}\n</tool_call>\n'
    '<tool_call>\n{"name": "list", "arguments": {}}\n</tool_call>',
    "hermes_fn": '<tool_call>\n<function=read>\n<parameter=path>\na"b\n</parameter>\n'
    "<parameter=limit>\n3\n</parameter>\n</function>\n</tool_call>\n"
    "<tool_call>\n<function=list>\n</function>\n</tool_call>",
    "function_tag": '<function=read>{"path": "a\\"b", "limit": 3}</function>\n<function=list>{}</function>',
    "mistral": '[TOOL_CALLS] [{"name": "read", "arguments": {"path": "a\\"b", "limit": 3}}, '
    '{"name": "list", "arguments": {}}]',
    "mistral_args": '[TOOL_CALLS]read[ARGS]{"path": "a\\"b", "limit": 3}[TOOL_CALLS]list[ARGS]{}',
    "llama_python_tag": '<|python_tag|>{"name": "read", "parameters": {"path": "a\\"b", "limit": 3}}; '
    '{"name": "list", "parameters": {}}',
    "pythonic": "[read(path='a\"b', limit=3), list()]",
    "tool_code": "```tool_code\nprint(read(path='a\"b', limit=3))\nprint(list())\n```",
    "fenced_python": "```python\nread(path='a\"b', limit=3)\nlist()\n```",
    "deepseek_v3": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>read\n```json\n"
    '{"path": "a\\"b", "limit": 3}\n```<｜tool▁call▁end｜>\n'
    "<｜tool▁call▁begin｜>function<｜tool▁sep｜>list\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "deepseek_v31": '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>read<｜tool▁sep｜>{"path": "a\\"b", "limit": 3}'
    "<｜tool▁call▁end｜><｜tool▁call▁begin｜>list<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "kimi_k2": "<|tool_calls_section_begin|><|tool_call_begin|>functions.read:0<|tool_call_argument_begin|>"
    '{"path": "a\\"b", "limit": 3}<|tool_call_end|><|tool_call_begin|>functions.list:1'
    "<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
    "glm_xml": '<tool_call>read\n<arg_key>path</arg_key>\n<arg_value>a"b</arg_value>\n<arg_key>limit</arg_key>\n'
    "<arg_value>3</arg_value>\n</tool_call>\n<tool_call>list\n</tool_call>",
    "minimax_m2": '<minimax:tool_call>\n<invoke name="read">\n<parameter name="path">a"b</parameter>\n'
    '<parameter name="limit">3</parameter>\n</invoke>\n<invoke name="list">\n</invoke>\n</minimax:tool_call>',
    "harmony": "<|channel|>commentary to=functions.read <|constrain|>json<|message|>"
    '{"path": "a\\"b", "limit": 3}<|call|><|start|>assistant'
    "<|channel|>commentary to=functions.list <|constrain|>json<|message|>{}<|call|>",
    "openclaw_bracket": '[read]\n{"path": "a\\"b", "limit": 3}\n[END_TOOL_REQUEST]\n[list]\n{}\n[END_TOOL_REQUEST]',
    "openclaw_harmony": 'commentary to=read code {"path": "a\\"b", "limit": 3}\ncommentary to=list code {}',
    "gemma4": '<|tool_call>call:read{path:<|"|>a"b<|"|>,limit:3}<tool_call|><|tool_call>call:list{}<tool_call|>',
    "deepseek_dsml": '<｜DSML｜function_calls>\n<｜DSML｜invoke name="read">\n'
    '<｜DSML｜parameter name="path" string="true">a"b</｜DSML｜parameter>\n'
    '<｜DSML｜parameter name="limit" string="false">3</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
    '<｜DSML｜invoke name="list">\n</｜DSML｜invoke>\n</｜DSML｜function_calls>',
    "named_tag_xml": '<read>\n<path>a"b</path>\n<limit>3</limit>\n</read>\n<list>\n</list>',
    "named_tag_yaml": '<read>\npath: "a\\"b"\nlimit: 3\n</read>\n<list>\n</list>',
}


def ask(http: httpx.Client, name: str, messages: list[Any]) -> str:
    answer = http.post("/chat/completions", json={"model": f"scripted-text-{name}", "messages": messages})
    assert answer.status_code == 200, answer.text
    message = answer.json()["choices"][0]["message"]
    assert "tool_calls" not in message
    assert answer.json()["choices"][0]["finish_reason"] == "stop"
    return str(message["content"])


@pytest.mark.parametrize("name", WRITTEN)
def test_it_writes_the_calls_as_the_family_does(http: httpx.Client, name: str) -> None:
    assert ask(http, name, [SYSTEM, SCRIPT]) == f"Two things.\n{WRITTEN[name]}"


@pytest.mark.parametrize("name", FORMATS)
def test_it_sees_its_own_calls_in_the_transcript_and_goes_on(http: httpx.Client, name: str) -> None:
    messages = [SYSTEM, SCRIPT]
    rounds = 2 if FORMATS[name].one_call_only else 1
    for _ in range(rounds):
        text = ask(http, name, messages)
        assert "read" in text or "list" in text
        messages += [{"role": "assistant", "content": text}, user("Result: 17 files")]
    assert ask(http, name, messages) == "Done."
    endless = user('!call read {"path": "x"}')
    messages = [SYSTEM, endless, {"role": "assistant", "content": ask(http, name, [SYSTEM, endless])}]
    assert ask(http, name, [*messages, user("Result: 17 files")]) == 'The tools answered: a tool: "Result: 17 files"'


@pytest.mark.parametrize("name", FORMATS)
def test_a_broken_call_keeps_its_text(http: httpx.Client, name: str) -> None:
    script = user('!broken read {"path": <<oops', "!then", "!say Repaired.")
    text = ask(http, name, [SYSTEM, script])
    assert '{"path": <<oops' in text
    error = user("That call could not be read.")
    assert ask(http, name, [SYSTEM, script, {"role": "assistant", "content": text}, error]) == "Repaired."


def test_react_and_pairs_make_one_call_at_a_time(http: httpx.Client) -> None:
    assert ask(http, "react", [SYSTEM, SCRIPT]) == (
        'Two things.\nAction: read\nAction Input: {"path": "a\\"b", "limit": 3}'
    )
    assert ask(http, "bracket_pair", [SYSTEM, SCRIPT]) == 'Two things.\n[read, {"path": "a\\"b", "limit": 3}]'


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": TOOLS},
        {"tools": TOOLS, "tool_choice": "auto"},
        {"parallel_tool_calls": True},
        {"messages": [user("x"), calls("a"), result("a")]},
        {"messages": [user("x"), result("a")]},
    ],
)
def test_it_refuses_all_that_speaks_of_tools(http: httpx.Client, fields: dict[str, Any]) -> None:
    body = {"model": "scripted-text-hermes_json", "messages": [user("x")]} | fields
    answer = http.post("/chat/completions", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert "scripted-text-hermes_json" in answer.json()["error"]["message"]


def test_without_tools_in_the_prompt_it_only_plans(http: httpx.Client) -> None:
    prompt = {"role": "system", "content": "Make a plan for reading the list."}
    assert ask(http, "hermes_json", [prompt, SCRIPT]).startswith("No tools are offered here")


@pytest.mark.parametrize(
    "definition",
    ["list(path: string)", "## list\nLists.", '{"name": "list"}', "<list></list>", "Write <tool_call>\n{...} to call."],
)
def test_many_ways_to_tell_it_of_a_tool(http: httpx.Client, definition: str) -> None:
    prompt = {"role": "system", "content": f"# Tools\n\n{definition}"}
    assert "<tool_call>" in ask(http, "hermes_json", [prompt, user("!call list")])


def test_an_unknown_format_is_an_unknown_model(http: httpx.Client) -> None:
    answer = http.post("/chat/completions", json={"model": "scripted-text-morse", "messages": [user("x")]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
