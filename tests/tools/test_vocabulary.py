"""Definitions, choices, markers and fingerprints do what their words say."""

import pytest
from pydantic import ValidationError

from tools.choices import after_round, named, resolve
from tools.definitions import ToolDefinition, allow, names_of
from tools.fingerprint import invocation_fingerprint, text_digest
from tools.ids import new_tool_call_id
from tools.marker import MOST_MARKERS, find_markers, marker_for, new_secret, strip_markers, without_markers


def tool(name: str) -> ToolDefinition:
    return ToolDefinition.model_validate({"type": "function", "function": {"name": name}})


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        ("", ["read", "write", "web_search"]),
        ("read", ["read"]),
        ("read, web_*", ["read", "web_search"]),
        ("!write", ["read", "web_search"]),
        ("*,!web_*", ["read", "write"]),
        ("nothing", []),
        ("dify:*", ["web_search"]),
        ("read, dify:search", ["read", "web_search"]),
        ("!dify:*", ["read", "write"]),
        ("search", []),
    ],
)
def test_allowed_tools_are_glob_patterns_of_a_name_or_of_the_other_one(patterns: str, kept: list[str]) -> None:
    tools = [tool("read"), tool("write"), tool("web_search")]
    assert names_of(allow(tools, patterns, {"web_search": "dify:search"})) == kept


def test_a_definition_without_parameters_goes_upstream_with_an_empty_schema() -> None:
    assert tool("ls").to_openai()["function"]["parameters"] == {"type": "object", "properties": {}}


@pytest.mark.parametrize("name", ["", "with space", "x" * 129, "née"])
def test_a_tool_name_that_no_upstream_takes_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        tool(name)


@pytest.mark.parametrize(
    ("node", "client", "choice"),
    [
        (None, None, "auto"),
        ("client", "required", "required"),
        ("client", named("read"), named("read")),
        ("client", named("gone"), "auto"),
        ("none", "required", "none"),
        ("required", "none", "required"),
        ("read", None, named("read")),
        ("gone", None, "auto"),
    ],
)
def test_the_nodes_choice_wins_and_never_asks_for_what_is_not_offered(
    node: str, client: object, choice: object
) -> None:
    assert resolve(node, client, ["read"]) == choice  # type: ignore[arg-type]


def test_required_without_tools_becomes_auto() -> None:
    assert resolve("required", None, []) == "auto"


def test_a_forced_call_is_forced_once() -> None:
    assert after_round("required") == "auto"
    assert after_round(named("read")) == "auto"
    assert after_round("none") == "none"


def test_a_marker_is_found_and_stripped() -> None:
    text = f"hello {marker_for('abcdefgh12')}"
    assert find_markers([text]) == ["abcdefgh12"]
    assert strip_markers(text) == "hello"
    assert find_markers(["hello [[clawback:?]]"]) == []


@pytest.mark.parametrize("depth", [1, 2, 7, 8, 9, 100_000])
def test_of_markers_in_markers_none_is_left_however_deep(depth: int) -> None:
    text = f"a {'[[clawback:' * depth}{'abcdefgh]]' * depth} b"
    left = strip_markers(text)
    assert find_markers([left]) == []
    assert strip_markers(left) == left
    assert left == "a b" or depth > 8
    halves = f"{'[[claw' * depth}{marker_for('abcdefgh')}{'back:abcdefgh]]' * depth}"
    assert find_markers([strip_markers(halves)]) == []


def test_of_many_markers_the_last_ones_are_tried_newest_first() -> None:
    secrets = [new_secret() for _ in range(MOST_MARKERS + 4)]
    texts = [" ".join(map(marker_for, secrets[:10])), marker_for(secrets[3]), *map(marker_for, secrets[10:])]
    assert find_markers(texts) == [*secrets[:9:-1], secrets[3], *secrets[9:4:-1]]
    assert len(set(secrets)) == len(secrets)


def test_markers_are_taken_out_of_all_texts_of_a_value() -> None:
    mark = marker_for("abcdefgh12")
    value = {"a": f"x {mark}", "b": [f"{mark}", {"c": f"y{mark}z"}, 3, None], mark: True}
    assert without_markers(value) == {"a": "x", "b": ["", {"c": "yz"}, 3, None], mark: True}


def test_ids_survive_openclaws_rewriting() -> None:
    made = {new_tool_call_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(i.isalnum() and len(i) <= 40 for i in made)


def test_a_fingerprint_ignores_what_memory_adds_and_notices_what_the_node_says() -> None:
    prompt = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    with_memory = [prompt[0], {"role": "user", "content": "old"}, {"role": "assistant", "content": "a"}, prompt[1]]
    assert invocation_fingerprint("m", prompt, {}) == invocation_fingerprint("m", with_memory, {})
    others = [("m2", prompt, {}), ("m", prompt, {"temperature": 1}), ("m", [prompt[1]], {}), ("m", [prompt[0]], {})]
    assert len({invocation_fingerprint(*other) for other in [("m", prompt, {}), *others]}) == 5  # type: ignore[arg-type]


def test_a_digest_does_not_depend_on_white_space_at_the_ends() -> None:
    assert text_digest(" q\n") == text_digest("q") != text_digest("r")
