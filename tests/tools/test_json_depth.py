"""Arguments nested as deep as anybody likes stop nobody who reads them."""

import json
from collections.abc import Callable

import pytest

from bridge.api.openai.call_ids import _value
from bridge.api.openai.chat_response import as_text
from bridge.errors import BridgeError
from bridge.page.decisions import _arguments
from bridge.page.rendering import named, pretty
from bridge.runs.segments import Calls, End
from bridge.runs.tickets.admission import canonical
from bridge.runs.tickets.policy import Policy, Question, Rule
from executor.python import PythonTools, tool
from executor.toolbox import LeasedCall
from tools.arguments import checked
from tools.calls import ToolCall, ToolCallAssembler, arguments_of, arguments_problem
from tools.json_depth import DEEPEST, is_too_deep
from tools.json_repair import repaired
from tools.openclaw_text.plain_turns import with_calls
from tools.openclaw_text.stopping import stopping_text
from tools.wire import Usage

DEPTHS = [DEEPEST + 1, 400, 990, 1_500, 5_000, 100_000]
KINDS: dict[str, Callable[[int], str]] = {
    "objects": lambda depth: '{"a":' * depth + "1" + "}" * depth,
    "arrays": lambda depth: '{"a":' + "[" * (depth - 1) + "]" * (depth - 1) + "}",
    "cut off": lambda depth: '{"a":' + "[" * depth,
}


def call(arguments: str) -> ToolCall:
    return ToolCall(id="call1", name="exec", arguments=arguments)


def judge(arguments: str) -> None:
    for action in ("allow", "ask", "deny"):
        rule = Rule(action=action, arguments={"a": ["*"]})
        verdict = Policy([rule]).judge(Question("exec", arguments, "executor"))
        assert verdict.action == ("ask" if action == "allow" else action)


@tool
def exec_(a: object) -> str:
    """Run."""
    return "ran"


def run(arguments: str) -> None:
    tools = PythonTools([exec_])
    tools.run(LeasedCall("l", "call1", exec_.name, arguments, "r"))


def decide(arguments: str) -> None:
    with pytest.raises(BridgeError, match="arguments"):
        _arguments(arguments)


def assemble(arguments: str) -> None:
    assembler = ToolCallAssembler()
    assembler.feed({"index": 0, "id": "x", "function": {"name": "exec", "arguments": arguments}})
    assembler.drafts()
    assert assembler.calls()[0].arguments == arguments


def turns(arguments: str) -> None:
    entry = {"id": "call1", "type": "function", "function": {"name": "exec", "arguments": arguments}}
    with_calls([{"role": "assistant", "content": None, "tool_calls": [entry]}])
    with_calls([{"role": "assistant", "content": f"[exec]\n{arguments}\n[END_TOOL_REQUEST]"}])


READERS: dict[str, Callable[[str], object]] = {
    "policy": judge,
    "decisions": decide,
    "page": lambda arguments: (pretty(arguments), named(arguments)),
    "loops": canonical,
    "ids": _value,
    "schema": lambda arguments: checked(arguments, {"type": "object", "properties": {"a": {"uniqueItems": True}}}),
    "any of": lambda arguments: checked(arguments, {"anyOf": [{"properties": {"a": {"const": [[]]}}}, False]}),
    "repair": repaired,
    "text": lambda arguments: list(as_text(event for event in (Calls((call(arguments),)), End("tool_calls", Usage())))),
    "stopping": lambda arguments: stopping_text("", [call(arguments)]),
    "assembler": assemble,
    "turns": turns,
    "executor": run,
}


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", READERS)
def test_nobody_goes_deeper_than_they_can(reader: str, kind: str, depth: int) -> None:
    READERS[reader](KINDS[kind](depth))


@pytest.mark.parametrize("kind", ["objects", "arrays"])
def test_where_too_deep_begins(kind: str) -> None:
    deepest, deeper = KINDS[kind](DEEPEST), KINDS[kind](DEEPEST + 1)
    assert not is_too_deep(json.loads(deepest))
    assert is_too_deep(json.loads(deeper))
    assert arguments_problem(deepest) is None
    assert arguments_of(deepest) == json.loads(deepest)
    assert "deeper than 100" in str(arguments_problem(deeper))
    assert arguments_of(deeper) is None
