"""A schema and arguments that were made to cost much, or to make a checker fail: both come from strangers."""

import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tools.arguments import checked
from tools.json_repair import repaired
from tools.openclaw_text.python_text import BadPythonError, literal
from tools.openclaw_text.schema import Schema
from tools.schema_walk import DEEPEST, MOST_STEPS

CALLS = 25 * MOST_STEPS
"""How many calls of functions a check may make: a few a step."""


def calls_of(work: Callable[[], Any]) -> int:
    """Count the functions that are called while `work` is done."""
    count = 0

    def seen(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def of(schema: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema}, **more}


LOOP = {"$ref": "#/properties/a"}
HOSTILE: dict[str, tuple[Any, Any]] = {
    "a reference twice in allOf": (of({"allOf": [LOOP, LOOP]}), "x"),
    "a reference twice in anyOf": (of({"anyOf": [{"not": {}}, {"allOf": [LOOP, LOOP, {"type": "integer"}]}]}), "x"),
    "references in a ring": ({"$defs": {"x": {"oneOf": [{"$ref": "#"}] * 9}}, "allOf": [{"$ref": "#/$defs/x"}] * 9}, 1),
    "many branches at every level": ({"allOf": [{"$ref": "#"}, *([True] * 50_000)]}, 1),
    "distinct lists": (of({"uniqueItems": True}), [[i] for i in range(9_000)]),
    "numbers with one hash": (of({"uniqueItems": True}), [i * sys.hash_info.modulus for i in range(9_000)]),
    "many allowed values": (of({"items": {"enum": [f"v{i}" for i in range(5_000)]}}), ["x"] * 5_000),
    "long lists that differ at the end": (of({"enum": [[*range(3_000), i] for i in range(999)]}), [*range(3_000), -1]),
    "many required names": (of({"items": {"required": [f"r{i}" for i in range(5_000)]}}), [{}] * 5_000),
    "many unknown names": (of({"properties": {f"p{i}": {} for i in range(5_000)}, "additionalProperties": False}),
                           {f"u{i}": 1 for i in range(5_000)}),
    "patterns for names": (of({"patternProperties": {f"^p{i}": {} for i in range(2_000)}}),
                           {f"u{i}": 1 for i in range(2_000)}),
    "one pattern for each value": (of({"properties": {f"p{i}": {"pattern": f"^(?:[a-z]{{1,20}}{i}){{1,5}}$"}
                                                      for i in range(2_000)}}), {f"p{i}": "x" for i in range(2_000)}),
    "a text for a list": (of({"anyOf": [{"type": "array", "maxItems": 0}] * 500}), json.dumps([1] * 50_000)),
    "values that do not fit": (of({"items": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}), ["x"] * 50_000),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_no_schema_makes_a_check_long(name: str) -> None:
    schema, value = HOSTILE[name]
    arguments = json.dumps({"a": value})
    assert calls_of(lambda: checked(arguments, schema)) < CALLS


@pytest.mark.parametrize("name", HOSTILE)
def test_no_schema_makes_typing_long(name: str) -> None:
    schema, value = HOSTILE[name]

    def work() -> None:
        read = Schema(schema)
        read.complaint(read.arguments({"a": value}))

    # Every value is copied once, whatever is known about it.
    assert calls_of(work) < 2 * CALLS


def nested(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = {"a": value}
    return value


def test_levels_and_steps_have_an_end_behind_which_nothing_is_checked() -> None:
    either = [{"$ref": "#"}, {"type": "string", "maxLength": 0}]
    schema = {"type": "object", "properties": {"a": {"anyOf": either}}}
    assert checked(json.dumps(nested(DEEPEST // 4)), schema).problem is not None
    assert checked(json.dumps(nested(DEEPEST)), schema).problem is None
    items = of({"items": {"type": "integer"}})
    assert checked(json.dumps({"a": [*range(100), "x"]}), items).problem is not None
    assert checked(json.dumps({"a": [*range(MOST_STEPS), "x"]}), items).problem is None


def test_a_pattern_for_names_that_is_not_checked_leaves_what_it_would_rule_over_alone() -> None:
    schema = of({"patternProperties": {r"^(\w+\s?)+$": {"type": "integer"}}, "additionalProperties": False})
    assert checked('{"a": {"any name": "text"}}', schema).problem is None
    named = of({"patternProperties": {r"^x-": {"type": "integer"}}, "additionalProperties": False})
    assert checked('{"a": {"x-b": "text"}}', named).problem is not None


def test_a_pattern_that_is_not_checked_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for text in ("one", "two"):
            assert checked(json.dumps({"a": text}), of({"pattern": r"^(told|once|\w)*!$"})).problem is None
    assert [record.args for record in caplog.records] == [(r"^(told|once|\w)*!$",)]


NUMBERS = [10**400, -(10**400), 10**4000, float("nan"), float("inf"), 1e308, True, "5", None, [], {}]


@pytest.mark.parametrize("limit", NUMBERS)
@pytest.mark.parametrize(
    "word", ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxItems"]
)
def test_no_number_in_a_schema_raises(word: str, limit: Any) -> None:
    for value in ("1", "1.5", "NaN", "-Infinity", "1e308", "9" * 4000, '"x"', "[1]"):
        checked(f'{{"a": {value}}}', of({word: limit}))
        checked(f'{{"a": {value}}}', of({word: limit, "type": ["string", "integer", "array"]}))


def test_large_numbers_count_as_what_they_are() -> None:
    assert checked('{"a": 5}', of({"minimum": 10**400})).problem is not None
    assert checked('{"a": 5}', of({"maximum": 10**400})).problem is None
    assert checked(f'{{"a": {3 * 10**400}}}', of({"multipleOf": 10**400})).problem is None
    assert checked('{"a": 1.5}', of({"multipleOf": 10**400})).problem is not None
    assert checked(f'{{"a": {10**400}}}', of({"type": "string"})).arguments == json.dumps({"a": str(10**400)})


def test_equal_items_are_equal_however_they_are_written() -> None:
    unique = of({"uniqueItems": True})
    for items in ("[1, 1.0]", '[{"x": 1, "y": 2}, {"y": 2, "x": 1.0}]', "[[null], [null]]", '["a", "b", "a"]'):
        assert checked(f'{{"a": {items}}}', unique).problem is not None
    for items in ("[1, true]", '["1", 1]', '[null, "null"]', '[["a"], "a"]', '["a,b", ["a", "b"]]'):
        assert checked(f'{{"a": {items}}}', unique).problem is None


WORDS = ["type", "enum", "const", "pattern", "minLength", "maxItems", "minimum", "multipleOf", "properties", "required",
         "items", "prefixItems", "additionalItems", "additionalProperties", "patternProperties", "uniqueItems", "allOf",
         "anyOf", "oneOf", "$ref", "nullable"]  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize(
    "odd", [None, True, 0, -1, 1.5, "", "(", "#/", [], [[]], [{}], [None, 3], {}, {"": 1}, {"(": 3}]
)
def test_no_keyword_of_another_type_raises(word: str, odd: Any) -> None:
    for value in ('"x"', "1", "1.5", "null", "[1, {}]", '{"b": {}}'):
        checked(f'{{"a": {value}}}', of({word: odd}))
        checked(f'{{"a": {value}}}', {word: odd})
        read = Schema(of({word: odd}))
        read.complaint(read.arguments({"a": json.loads(value)}))


@pytest.mark.parametrize(
    "arguments",
    [
        '{"a": ' + "[" * 3_000 + "]" * 3_000 + "}",
        '{"a": ' + "[" * 100_000,
        "{'a': " + "(" * 3_000 + ")" * 3_000 + "}",
        '{"a": ' + "9" * 5_000 + "}",
        "{'a': 0x" + "f" * 20_000 + "}",
        '{"a": 1e999}',
    ],
)
def test_no_arguments_raise(arguments: str) -> None:
    checked(arguments, of({"$ref": "#"}))
    checked(arguments, of({"type": "string", "uniqueItems": True, "enum": [[[]]], "multipleOf": 7}))


@pytest.mark.parametrize("quote", ['"', "'"])
def test_a_string_without_an_end_is_read_once(quote: str) -> None:
    """Looked for from every quote that it holds, its end would take hours to find: this test would not end."""
    text = f"{{{quote}a{quote}: {quote}" + f"\\{quote}" * 120_000
    assert repaired(text) is None
    with pytest.raises(BadPythonError):
        literal(text)
    with pytest.raises(BadPythonError):
        literal("[" + "x" * 200_000)
