"""Definitions that strict upstreams take, and arguments that reach a tool only where they fit."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from demo.scripted.strict_tools import check_object_schema
from tools.arguments import checked
from tools.definitions import ToolDefinition
from tools.json_repair import repaired
from tools.names import safe_names
from tools.schemas import for_upstream, normalised

ODD: list[Any] = [
    None,
    True,
    [],
    {},
    {"type": "string"},
    {"type": "object", "properties": {"a": {"type": "string", "~optional": True}}},
    {"type": "object", "properties": {"a": {"type": "array"}}},
    {"type": "object", "properties": {"a": {"type": ["array", "null"]}}, "required": ["a", "a", "b", 3]},
    {"type": "object", "properties": {"a": {"type": "string", "maxLength": 1_000_000, "minLength": -1}}},
    {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?i)abc"}, "b": {"pattern": "abc"}}},
    {"type": "object", "properties": {"a": {"type": "text", "enum": []}, "b": {"required": True}}},
    {"type": "object", "properties": {"a": True, "b": {"items": [{"type": "string"}], "type": "array"}}},
    {"anyOf": [{"type": "object", "properties": {"a": {}}, "required": ["a"]}, {"properties": {"b": {}}}]},
    {"type": "object", "properties": {"a": {"$ref": "http://elsewhere/x.json"}, "b": {"$ref": "#/$defs/x"}}},
    {"$defs": {"x": {"type": "array"}}, "type": "object", "properties": {"b": {"$ref": "#/$defs/x"}}, "x-own": 1},
    {"type": "object", "properties": {"a": {"title": 3, "description": None, "default": None, "examples": 4}}},
    {"type": "object", "enum": [{}], "not": {"required": ["x"]}},
]


@pytest.mark.parametrize("schema", ODD)
def test_every_schema_becomes_one_that_a_strict_upstream_takes(schema: Any) -> None:
    made = normalised(schema)
    check_object_schema(made, "parameters", known_keywords_only=True)
    Draft202012Validator.check_schema(made)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.text(max_size=3), max_size=2),
        lambda inner: st.dictionaries(
            st.sampled_from(["type", "properties", "items", "anyOf", "required", "enum", "maxLength", "$ref", "a"]),
            inner | st.lists(inner, max_size=3) | st.sampled_from(["object", "array", "string"]),
            max_size=5,
        ),
        max_leaves=15,
    )
)
def test_whatever_comes_a_schema_goes_out(schema: Any) -> None:
    check_object_schema(normalised(schema), "parameters", known_keywords_only=True)


def test_a_sound_schema_stays_as_it_is() -> None:
    schema = {
        "type": "object",
        "description": "d",
        "properties": {
            "path": {"type": "string", "description": "p", "minLength": 1, "pattern": "^[a-z]+$"},
            "lines": {"type": "array", "items": {"type": "integer", "minimum": 1}},
            "mode": {"enum": ["a", "b"], "default": "a"},
        },
        "required": ["path"],
        "additionalProperties": False,
    }
    assert normalised(schema) == schema


def test_the_original_definition_is_kept() -> None:
    parameters = {"type": "object", "properties": {"a": {"type": "array", "~optional": True}}}
    tool = ToolDefinition.model_validate({"function": {"name": "time.now", "parameters": parameters}})
    sent = for_upstream(tool, "time_now")
    assert (sent.name, tool.name) == ("time_now", "time.now")
    assert tool.function.parameters == parameters
    assert sent.function.parameters != parameters


def test_names_are_mapped_only_where_they_must_be() -> None:
    long, other = "x" * 70, "x" * 69
    names = safe_names(["read", "time.now", "time_now", long, other])
    assert names["read"] == "read"
    assert names["time_now"] == "time_now"
    assert names["time.now"] != "time_now"
    assert len(set(names.values())) == 5
    assert all(len(name) <= 64 for name in names.values())
    assert safe_names(["a:b"]) == {"a:b": "a_b"}
    assert safe_names(["3d", "_b", "Ω"]) == {"3d": "tool_3d", "_b": "tool__b", "Ω": "tool__"}, "a letter comes first"


@given(st.lists(st.text(min_size=1, max_size=100), max_size=10))
def test_no_two_names_become_one(names: list[str]) -> None:
    safe = safe_names(names)
    assert len(set(safe.values())) == len(set(names))


SCHEMA = {
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "limit": {"type": "integer", "minimum": 1, "maximum": 100},
        "ratio": {"type": "number"},
        "all": {"type": "boolean"},
        "lines": {"type": "array", "items": {"type": "integer"}, "maxItems": 3, "uniqueItems": True},
        "mode": {"enum": ["fast", "slow"]},
        "where": {"$ref": "#/$defs/place"},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 3}]},
    },
    "required": ["path"],
    "additionalProperties": False,
    "$defs": {"place": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
}


@pytest.mark.parametrize(
    ("arguments", "reaches"),
    [
        ({"path": "a"}, {"path": "a"}),
        ({"path": "a", "limit": "5"}, {"path": "a", "limit": 5}),
        ({"path": "a", "limit": 5.0}, {"path": "a", "limit": 5}),
        ({"path": 7}, {"path": "7"}),
        ({"path": "a", "ratio": "0.5"}, {"path": "a", "ratio": 0.5}),
        ({"path": "a", "all": "True"}, {"path": "a", "all": True}),
        ({"path": "a", "lines": '[1, "2"]'}, {"path": "a", "lines": [1, 2]}),
        ({"path": "a", "where": '{"city": "Rome"}'}, {"path": "a", "where": {"city": "Rome"}}),
        ({"path": "a", "limit": None}, {"path": "a"}),
        ({"path": "a", "either": "abc"}, {"path": "a", "either": "abc"}),
        ({"path": "a", "either": "5"}, {"path": "a", "either": "5"}),
    ],
)
def test_arguments_reach_the_tool_as_it_wants_them(arguments: dict[str, Any], reaches: dict[str, Any]) -> None:
    found = checked(json.dumps(arguments), SCHEMA)
    assert found.problem is None
    assert json.loads(found.arguments) == reaches


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "path is required"),
        ({"path": ["a"]}, "path must be a string, not an array"),
        ({"path": "a", "limit": "many"}, "limit must be an integer, not a string"),
        ({"path": "a", "limit": "007"}, "limit must be an integer"),
        ({"path": "a", "limit": True}, "limit must be an integer, not a boolean"),
        ({"path": "a", "limit": 101}, "limit must be at most 100"),
        ({"path": "a", "other": 1}, "there is no other (there are: path, limit"),
        ({"path": "a", "lines": [1, 1]}, "must not hold the same item twice"),
        ({"path": "a", "lines": [1, 2, 3, 4]}, "at most 3 items"),
        ({"path": "a", "lines": ["x"]}, "lines[0] must be an integer"),
        ({"path": "a", "mode": "medium"}, 'mode must be one of ["fast", "slow"]'),
        ({"path": "a", "where": {}}, "where.city is required"),
        ({"path": "a", "either": "abcd"}, "either must"),
        ({"path": None}, "path must be a string, not null"),
    ],
)
def test_what_does_not_fit_is_told_to_the_model(arguments: dict[str, Any], told: str) -> None:
    assert told in str(checked(json.dumps(arguments), SCHEMA).problem)


def test_arguments_that_fit_are_passed_on_letter_by_letter() -> None:
    text = '{ "path" : "a",  "limit":5 }'
    assert checked(text, SCHEMA).arguments == text
    assert checked('{"any": [1]}', None).arguments == '{"any": [1]}'


@given(st.dictionaries(st.sampled_from(list(SCHEMA["properties"])), st.integers(-5, 200) | st.text(max_size=4)))
def test_what_passes_is_valid(arguments: dict[str, Any]) -> None:
    found = checked(json.dumps(arguments), SCHEMA)
    if found.problem is None:
        Draft202012Validator(SCHEMA).validate(json.loads(found.arguments))


@given(st.dictionaries(st.sampled_from(list(SCHEMA["properties"])), st.integers(-5, 200) | st.booleans()))
def test_what_is_valid_passes(arguments: dict[str, Any]) -> None:
    if Draft202012Validator(SCHEMA).is_valid(arguments):
        assert checked(json.dumps(arguments), SCHEMA).problem is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        ("null", {}),
        ('""', {}),
        ('"{}"', {}),
        ('{"a": 1}{"a": 1}', {"a": 1}),
        ('{"a": 1, "b": 2}\n{"b": 2, "a": 1}', {"a": 1, "b": 2}),
        ('{}{"a": 1}', {"a": 1}),
        ("{}{}", {}),
        ('{"a": 1}{"a": true}', None),
        ('{"a": 1}{"a": 2}', None),
        ('{"a": 1}{"a": 1', None),
        ('{"a": 1,}', {"a": 1}),
        ('{"a": [1, 2,],}', {"a": [1, 2]}),
        ('{"a": "x,}"}', {"a": "x,}"}),
        ('{"a": "x,}",}', {"a": "x,}"}),
        ('{"a": "two\nlines"}', {"a": "two\nlines"}),
        ("{'a': True, 'b': None}", {"a": True, "b": None}),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('{"a": "cut of', None),
        ('{"a": 1', None),
        ("{1: 2}", None),
        ("{'a': {1, 2}}", None),
        ("rm -rf", None),
        ("[" * 100_000, None),
    ],
)
def test_json_is_mended_where_it_has_one_meaning(text: str, value: object) -> None:
    assert repaired(text) == value


def test_a_schema_without_an_end_ends() -> None:
    loop = {"type": "object", "properties": {"a": {"$ref": "#"}}}
    deep: dict[str, Any] = {}
    for _ in range(200):
        deep = {"a": deep}
    assert checked(json.dumps(deep), loop).problem is None
    assert checked("{}", {"$ref": "#"}).problem is None
