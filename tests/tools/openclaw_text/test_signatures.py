"""Definitions as text say what the schemas say, within their budget."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.openclaw_text.signatures import definitions, estimated_tokens, shortened


def tool(
    name: str = "look", description: str = "", required: tuple[str, ...] = (), **properties: Any
) -> dict[str, Any]:
    parameters = {"type": "object", "required": list(required), "properties": properties}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


TYPES: list[tuple[dict[str, Any], str]] = [
    ({"type": "string"}, "string"),
    ({"type": ["string", "null"]}, "string|null"),
    ({"enum": ["a", 1, None]}, '"a"|1|null'),
    ({"const": True, "type": "boolean"}, "true"),
    ({"type": "array", "items": {"type": "integer"}}, "integer[]"),
    ({"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}, "(string|integer)[]"),
    ({"type": "array"}, "array"),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string|null"),
    ({"type": "object"}, "object"),
    ({"type": "object", "additionalProperties": {"type": "number"}}, "{any key: number}"),
    ({"type": "object", "patternProperties": {"^.*$": {"type": "string"}}}, "{any key: string}"),
    ({"properties": {"x": {"type": "integer"}, "y": {}}, "required": ["x"]}, "{x: integer, y?: any}"),
    ({"allOf": [{"type": "object", "properties": {"x": {"type": "string"}}}, {"required": ["x"]}]}, "{x: string}"),
    ({"allOf": [{"type": "string"}], "maxLength": 3}, "string (<= 3 characters)"),
    ({"$ref": "#/$defs/day"}, '"mon"|"tue"'),
    ({"$ref": "#/$defs/tree"}, "{left?: object}"),
    ({"type": "object", "properties": {"definitions": {}, "$ref": {}}}, "{definitions?: any, $ref?: any}"),
    ({"$ref": "#/$defs/nowhere"}, "any"),
    ({"type": "integer", "minimum": 1, "maximum": 9}, "integer (1 to 9)"),
    ({"type": "integer", "minimum": 0, "default": 5}, "integer (>= 0, default 5)"),
    ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, "number (> 0, < 1)"),
    ({"type": "string", "minLength": 1, "format": "date"}, "string (date)"),
    ({"type": "string", "pattern": "^a+$"}, "string (pattern ^a+$)"),
    ({"type": "array", "items": True, "minItems": 2}, "array (>= 2 items)"),
    ({}, "any"),
]


@pytest.mark.parametrize(("schema", "said"), TYPES)
def test_a_parameters_type_and_limits_are_told(schema: dict[str, Any], said: str) -> None:
    given_tool = tool(value=schema)
    given_tool["function"]["parameters"]["$defs"] = {
        "day": {"enum": ["mon", "tue"]},
        "tree": {"type": "object", "properties": {"left": {"$ref": "#/$defs/tree"}}},
    }
    assert definitions([given_tool]).text == f"## look\n- value?: {said}"


def test_a_signature_has_a_heading_a_description_and_a_line_for_each_parameter() -> None:
    look = tool("look", "Look\n  around.", ("where",), where={"type": "string", "description": "A place."}, far={})
    plain = {"type": "function", "function": {"name": "stop"}}
    assert definitions([look, plain]).text == "## look\nLook around.\n- where: string. A place.\n- far?: any\n\n## stop"


def test_described_parts_of_an_object_have_lines_of_their_own() -> None:
    item = {"type": "object", "required": ["old"], "properties": {"old": {"type": "string", "description": "Before."}}}
    edit = tool("edit", edits={"anyOf": [{"type": "array", "items": item}, {"type": "null"}], "description": "All."})
    assert definitions([edit]).text == "## edit\n- edits?: object[]|null. All.\n  - old: string. Before."


def test_a_required_parameter_without_a_schema_is_told() -> None:
    assert definitions([tool(required=("odd",))]).text == "## look\n- odd: any"


def big_tools() -> list[dict[str, Any]]:
    return [
        tool(
            f"tool_{number}",
            f"Does the thing number {number}. " + "It has a long story to tell about it. " * 20,
            ("need",),
            need={"type": "string", "description": "What is needed here, in some detail. " * 4},
            **{f"may_{index}": {"type": "integer", "minimum": 0, "description": "Rarely used."} for index in range(8)},
        )
        for number in range(10)
    ]


def test_descriptions_are_shortened_before_any_parameter_is_dropped() -> None:
    tools = big_tools()
    full = estimated_tokens(definitions(tools).text)
    dropped_before = False
    for budget in range(full, 100, -25):
        found = definitions(tools, budget)
        dropped_before = dropped_before or bool(found.dropped)
        assert bool(found.dropped) == dropped_before
        if found.dropped:
            assert "Rarely used" not in found.text
        assert all(f"## tool_{number}\n" in f"{found.text}\n" for number in range(10))
        assert found.text.count("- need: string") == 10
    assert dropped_before


def test_the_budget_is_kept_and_what_is_missing_is_said() -> None:
    tools = big_tools()
    for budget in (2000, 1200, 800, 400):
        found = definitions(tools, budget)
        assert estimated_tokens(found.text) <= budget
        said = found.warnings(budget)
        assert "descriptions of tool_0" in said[0]
        assert f"into {budget} tokens" in said[0]
        assert "allowed_tools" in said[0]
    assert "tool_0 (may_" in definitions(tools, 400).warnings(400)[1]


def test_nothing_is_said_where_nothing_is_missing() -> None:
    assert definitions(big_tools(), 100_000).warnings(100_000) == []
    assert definitions(big_tools()).warnings(None) == []


def test_tools_and_required_parameters_stay_even_over_the_budget() -> None:
    found = definitions(big_tools(), 5)
    assert found.text.count("- need: string") == 10
    assert "more than 5" in found.warnings(5)[-1]


@settings(deadline=None)
@given(st.text(max_size=200), st.integers(0, 80))
def test_a_shortened_text_is_no_longer_than_its_limit(text: str, limit: int) -> None:
    assert len(shortened(text, limit)) <= limit


def test_a_text_is_shortened_at_a_sentence_or_a_word() -> None:
    assert shortened("Read a file. Then write another one.", 20) == "Read a file."
    assert shortened("Read an enormously long file", 20) == "Read an enormously…"
    assert shortened("读取一个文件。然后写入另一个文件，再关闭。", 14) == "读取一个文件。"
