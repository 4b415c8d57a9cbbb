"""What the writer writes in any family's form, the reader reads back exactly, wherever it is cut."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.openclaw_text.families import FAMILIES, Family
from tools.openclaw_text.parsing import parse
from tools.openclaw_text.writer import write_calls, write_openclaw_calls

TYPES: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "count": {"type": "integer"},
    "ratio": {"type": "number"},
    "deep": {"type": "boolean"},
    "tags": {"type": "array", "items": {"type": "string"}},
    "env": {"type": "object"},
    "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    "either": {"type": ["string", "integer"]},
    "any": {},
}


def tool(name: str, *parameters: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {parameter: TYPES[parameter] for parameter in parameters}}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


TOOLS = [
    tool("read", "text", "count"),
    tool("web_search", *TYPES),
    tool("mcp__list-all"),
    tool("a.b:c", "text", "deep"),
]

# What quotes, escapes, layout and every form's own marks could be taken for.
MARKS = st.sampled_from(
    [
        *(
            '"',
            "'",
            "\\",
            "\n",
            "\r\n",
            "\r",
            " ",
            "\t",
            "{",
            "}",
            "[",
            "]",
            ",",
            "`",
            "```",
            "```json\n",
            "\u2028",
            "é",
        ),
        *(
            "<tool_call>",
            "</tool_call>",
            "<function=read>",
            "</function>",
            "<parameter=text>",
            "</parameter>",
        ),
        *(
            "<arg_key>text</arg_key>",
            "<arg_value>",
            "</arg_value>",
            "[TOOL_CALLS]",
            "[/TOOL_CALLS]",
            "[ARGS]",
            "[read]",
        ),
        *(
            "<｜tool▁call▁end｜>",
            "<｜tool▁calls▁end｜>",
            "<|tool_call_end|>",
            "<|tool_calls_section_end|>",
            "functions.read:0",
        ),
        *(
            "<｜DSML｜parameter",
            "</｜DSML｜parameter>",
            "</｜DSML｜invoke>",
            "<think>",
            "</think>",
            "[END_TOOL_REQUEST]",
        ),
        *(
            '{"name": "read", "arguments": {}}',
            "&lt;",
            "&amp;",
            "true",
            "null",
            "12",
            "None",
            "1e5",
            "你好",
            "😀",
            "//",
            "#",
        ),
    ]
)
TEXTS = st.one_of(st.text(max_size=20), st.lists(MARKS | st.text(max_size=4), max_size=6).map("".join))
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), FLOATS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=5,
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXTS,
    "count": st.integers(-(2**70), 2**70),
    "ratio": FLOATS,
    "deep": st.booleans(),
    "tags": st.lists(TEXTS, max_size=3),
    "env": st.dictionaries(TEXTS, ANY, max_size=3),
    "maybe": st.one_of(st.none(), TEXTS),
    "either": st.one_of(st.integers(), TEXTS),
    "any": ANY,
}


def call_of(given_tool: dict[str, Any]) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    function = given_tool["function"]
    parameters = {name: VALUES[name] for name in function["parameters"]["properties"]}
    return st.tuples(st.just(function["name"]), st.fixed_dictionaries({}, optional=parameters))


CALLS = st.lists(st.one_of(*(call_of(one) for one in TOOLS)), min_size=1, max_size=4)
PROSE = st.sampled_from(["", "Let me see.", "我来看看。\n第二行", "1 < 2 and a[0]"])
CUTS = st.lists(st.integers(0, 400), max_size=12)


def cut(text: str, at: list[int]) -> list[str]:
    places = sorted({0, len(text), *(place for place in at if place < len(text))})
    return [text[start:end] for start, end in pairwise(places)]


def wanted(calls: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    return [{"name": name, "arguments": arguments} for name, arguments in calls]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
@settings(deadline=None)
@given(calls=CALLS, before=PROSE, at=CUTS)
def test_calls_of_every_family_are_read_back(
    family: Family, calls: list[tuple[str, dict[str, Any]]], before: str, at: list[int]
) -> None:
    text = f"{before}\n\n{write_calls(calls, family, TOOLS)}" if before else write_calls(calls, family, TOOLS)
    found = parse(cut(text, at), TOOLS)
    assert found["calls"] == wanted(calls)
    assert (found["content"] or "").strip() == before
    assert parse(list(text), TOOLS) == parse([text], TOOLS) == found


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
@settings(deadline=None)
@given(calls=CALLS, first=st.integers(0, 30))
def test_prose_after_calls_does_not_change_them(
    family: Family, calls: list[tuple[str, dict[str, Any]]], first: int
) -> None:
    text = write_calls(calls, family, TOOLS, first)
    assert parse([f"{text}\n\nThat is all."], TOOLS)["calls"] == wanted(calls)


BRACKETED = st.lists(st.one_of(*(call_of(one) for one in TOOLS[:3])), min_size=1, max_size=4)


@settings(deadline=None)
@given(calls=BRACKETED, at=CUTS)
def test_what_is_written_for_openclaw_is_read_back(calls: list[tuple[str, dict[str, Any]]], at: list[int]) -> None:
    found = parse(cut(write_openclaw_calls(calls), at), TOOLS)
    assert found == {"content": None, "calls": wanted(calls)}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_a_long_value_is_read_back(family: Family) -> None:
    text = "\n".join(f"line {number}: <b>{json.dumps('x' * 20)}</b>" for number in range(900))
    calls = [("read", {"text": text})] * 2
    assert parse([write_calls(calls, family, TOOLS)], TOOLS)["calls"] == wanted(calls)
