"""The prompt teaches the tools and one form of calling them, without a word against another."""

import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.choices import named
from tools.openclaw_text.example import example_call
from tools.openclaw_text.families import FAMILIES, Family
from tools.openclaw_text.language import language_of
from tools.openclaw_text.prompt import system_text
from tools.openclaw_text.writer import write_calls

TEXT = {"type": "string"}


def tool(name: str, required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": required | optional, "required": list(required)}
    return {"type": "function", "function": {"name": name, "description": f"About {name}.", "parameters": parameters}}


TOOLS = [tool("write", {"path": TEXT, "content": TEXT}), tool("exec", {"command": TEXT}), tool("read", {"path": TEXT})]
HERMES = FAMILIES["hermes"]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("family", FAMILIES.values(), ids=str)
def test_a_prompt_has_the_tools_one_example_and_the_rules(family: Family, language: Any) -> None:
    text = system_text(TOOLS, "auto", family, language).text
    assert all(f"## {name}\nAbout {name}.\n" in text for name in ("write", "exec", "read"))
    assert text.count(write_calls([("read", {"path": "notes.txt"})], family, TOOLS)) == 1
    assert not re.search(r"\{(name|how|output|id)\}", text)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=str)
def test_a_chinese_prompt_is_chinese(family: Family) -> None:
    text = system_text(TOOLS, "auto", family, "zh").text
    assert "# 如何调用工具" in text
    assert "You " not in text
    assert "tool," not in text


AUTO, REQUIRED, NAMED, NONE = "no tool is needed", "must call at least one", "must call `exec`", "cannot be called"


@pytest.mark.parametrize(
    ("choice", "said"),
    [(None, AUTO), ("auto", AUTO), ("required", REQUIRED), (named("exec"), NAMED), ("none", NONE), (named("x"), AUTO)],
)
def test_exactly_one_rule_says_whether_to_call(choice: Any, said: str) -> None:
    text = system_text(TOOLS, choice, HERMES).text
    assert [rule for rule in (AUTO, REQUIRED, NAMED, NONE) if rule in text] == [said]


def test_a_forced_tool_is_shown_alone_and_none_shows_no_tool() -> None:
    assert re.findall(r"^## (\w+)", system_text(TOOLS, named("exec"), HERMES).text, re.MULTILINE) == ["exec"]
    assert "read" not in system_text(TOOLS, "none", HERMES).text


@pytest.mark.parametrize("family", FAMILIES.values(), ids=str)
def test_parallel_calls_are_either_explained_or_forbidden(family: Family) -> None:
    many, one = system_text(TOOLS, "auto", family), system_text(TOOLS, "auto", family, parallel=False)
    assert ("in one reply:" in many.text, "only one call" in many.text) == (True, False)
    assert ("in one reply:" in one.text, "only one call" in one.text) == (False, True)


def test_without_tools_there_is_nothing_to_say() -> None:
    assert system_text([], "required", HERMES).text == ""


def test_the_budget_is_for_the_definitions_and_its_warnings_are_passed_on() -> None:
    wordy = [tool("read", {"path": TEXT | {"description": "So very much to say. " * 50}})]
    short = system_text(wordy, "auto", HERMES, budget_tokens=40)
    assert len(short.text) < len(system_text(wordy, "auto", HERMES).text) - 800
    assert "read" in short.warnings[0]
    assert system_text(wordy, "auto", HERMES, budget_tokens=None).warnings == ()


def test_the_example_is_a_harmless_call_where_there_is_one() -> None:
    assert example_call(TOOLS) == ("read", {"path": "notes.txt"})
    assert example_call([tool("now", {})]) == ("now", {})
    assert example_call([tool("send", {"to": TEXT | {"enum": ["ops"]}, "at": {"type": "integer"}})])[1] == {
        "to": "ops",
        "at": 1,
    }


LEAVES = st.sampled_from(
    [
        {"type": "string"},
        {"type": "integer", "minimum": 5},
        {"type": "number"},
        {"type": "boolean"},
        {"type": ["null", "string"]},
        {"enum": ["red", 3]},
        {"const": {"a": 1}},
        {"default": 7, "type": "integer"},
        {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
        {},
    ]
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda items: {"type": "array", "items": items}, inner),
        st.builds(
            lambda parts: {"type": "object", "properties": parts, "required": sorted(parts)},
            st.dictionaries(st.sampled_from(["path", "items", "n", "x"]), inner, max_size=3),
        ),
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["path", "city", "limit", "tags"]), SCHEMAS, max_size=4))
def test_the_examples_arguments_are_valid(parts: dict[str, Any]) -> None:
    given_tool = tool("anything", parts)
    jsonschema.validate(example_call([given_tool])[1], given_tool["function"]["parameters"])


KEYS = st.sampled_from(["type", "properties", "required", "items", "enum", "const", "anyOf", "allOf", "$ref", "a", "b"])
TELLING = st.sampled_from(["description", "default", "minimum", "maxLength", "pattern"])
ODD = st.sampled_from([None, True, -1, "object", "array", "#/properties/a", "#/properties/b", "#"])
JSON = st.recursive(
    ODD, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS | TELLING, inner, max_size=4))
)


@settings(deadline=None)
@given(st.dictionaries(KEYS, JSON, max_size=5), st.sampled_from(list(FAMILIES.values())), st.integers(1, 200))
def test_no_schema_is_too_odd_to_be_told(schema: dict[str, Any], family: Family, budget: int) -> None:
    odd = {"type": "function", "function": {"name": "odd", "parameters": schema}}
    assert "## odd" in system_text([odd], "auto", family, budget_tokens=budget).text


def test_schemas_that_refer_to_each_other_have_an_end() -> None:
    names = [f"s{number}" for number in range(8)]
    mutual = {"type": "object", "properties": {name: {"$ref": f"#/$defs/{name}"} for name in names}}
    schema = mutual | {"$defs": dict.fromkeys(names, mutual)}
    webbed = {"type": "function", "function": {"name": "web", "parameters": schema}}
    assert len(system_text([webbed], "auto", HERMES, budget_tokens=None).text) < 200_000


LANGUAGES = [
    ("zh", [("system", "你是一个有用的助手。"), ("user", "What is the weather?")]),
    ("en", [("system", "You are a helpful assistant."), ("user", "天气怎么样？")]),
    ("zh", [("user", "天气怎么样？")]),
    ("zh", [("system", ""), ("user", "用 read 读取 notes.txt")]),
    ("zh", [("system", "你是天气助手。"), ("system", "You are a personal assistant running inside OpenClaw. " * 50)]),
    ("en", [("user", "今日はとてもいい天気ですね")]),
    ("en", [("user", "?")]),
    ("en", []),
]


@pytest.mark.parametrize(("language", "messages"), LANGUAGES)
def test_the_language_is_that_of_the_nodes_own_words(language: str, messages: list[tuple[str, str]]) -> None:
    assert language_of([{"role": role, "content": content} for role, content in messages]) == language
