"""A form as a call of a client's tool: what the tool is asked, and what its result stands for."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from bridge.dify.forms import Form, FormAction, FormField
from bridge.errors import InvalidRequest
from bridge.runs.forms import call_arguments, read_answer
from tools.arguments import checked

CAPTURED = Path(__file__).parents[1] / "agents" / "captured"
ACTIONS = [FormAction(id="yes", title="Go ahead"), FormAction(id="no", title="Stop")]
PLAIN = Form(title="Review", content="Publish it?", actions=ACTIONS)
FULL = Form(
    title="Review",
    content="Publish it? [note]",
    fields=[FormField(name="note", default="none"), FormField(name="size", kind="select", options=["small", "large"])],
    actions=ACTIONS,
)
TEXT = {"type": "object", "properties": {"question": {"type": "string"}}, "required": ["question"]}
CHOICES = {"type": "object", "properties": {"prompt": {"type": "string"}}}
CHOICES["properties"] |= {"choices": {"type": "array", "items": {"type": "string"}}}


def schema_of(agent: str, tool: str) -> dict[str, Any]:
    """Return the schema with which a real agent brought its tool."""
    text = (CAPTURED / f"{agent}.json").read_text()
    for line in text.splitlines():
        if f'"name":"{tool}"' in line:
            found = json.loads(line.strip().rstrip(","))
            return dict(found.get("input_schema") or found["parameters"])
    raise AssertionError(f"{agent} did not bring {tool}")


ASK_USER_QUESTION = schema_of("claude-code", "AskUserQuestion")
REQUEST_USER_INPUT = schema_of("codex", "request_user_input")


@pytest.mark.parametrize("form", [PLAIN, FULL], ids=["plain", "full"])
@pytest.mark.parametrize(
    "schema", [ASK_USER_QUESTION, REQUEST_USER_INPUT, TEXT, CHOICES], ids=["claude", "codex", "text", "choices"]
)
def test_what_a_tool_is_asked_fits_its_schema_and_says_all(schema: dict[str, Any], form: Form) -> None:
    arguments = call_arguments(form, schema)
    assert arguments is not None
    assert checked(arguments, schema).problem is None
    for words in ("Review", "Publish it?", "Go ahead", "Stop", *(each.name for each in form.fields)):
        assert words in arguments


@pytest.mark.parametrize(
    "schema",
    [None, {}, {"type": "object", "properties": {"path": {"type": "integer"}}}],
    ids=["none", "empty", "other"],
)
def test_a_tool_without_a_place_for_a_question_is_not_asked(schema: dict[str, Any] | None) -> None:
    assert call_arguments(PLAIN, schema) is None


def test_what_was_wrong_is_said_when_it_is_asked_again() -> None:
    assert "the last answer" in str(call_arguments(PLAIN, TEXT, "it names no action")).lower()


def questions(form: Form, schema: dict[str, Any]) -> list[str]:
    return [each["question"] for each in json.loads(call_arguments(form, schema) or "")["questions"]]


def test_an_answer_as_claude_code_writes_it() -> None:
    note, size, action = questions(FULL, ASK_USER_QUESTION)
    told = (
        f'User has answered your questions: "{note}"="be kind", "{size}"="large", "{action}"="Go ahead". You can go on.'
    )
    assert read_answer(FULL, told) == ("yes", {"note": "be kind", "size": "large"})


def test_an_answer_as_codex_writes_it() -> None:
    told = {"note": {"answers": ["be kind"]}, "size": {"answers": ["Large"]}, "action": {"answers": ["Stop"]}}
    assert read_answer(FULL, json.dumps({"answers": told})) == ("no", {"note": "be kind", "size": "large"})


@pytest.mark.parametrize(
    "output", ["yes", "Go ahead", " go ahead. ", '"yes"', '{"action": "yes"}', '{"action": "Go ahead", "inputs": {}}']
)
def test_an_answer_in_few_words(output: str) -> None:
    assert read_answer(PLAIN, output) == ("yes", {})


def test_an_answer_in_json() -> None:
    told = {"action": "yes", "inputs": {"size": "small", "note": ""}}
    assert read_answer(FULL, json.dumps(told)) == ("yes", {"size": "small", "note": ""})


@pytest.mark.parametrize("output", ["", "perhaps", "[]", "7", '{"note": "yes"}', '{"reason": "yes"}'])
def test_a_result_that_names_no_action_is_refused_with_how_to_answer(output: str) -> None:
    with pytest.raises(InvalidRequest, match=r"names no action of the form 'Review'.*yes \(Go ahead\), no \(Stop\)"):
        read_answer(FULL, output)


def test_a_field_called_like_the_question_for_the_button_is_left_to_the_page() -> None:
    """`{"action": "yes", "inputs": {"action": "no"}}` would press the other button."""
    form = FULL.model_copy(update={"fields": [FormField(name="action")]})
    assert call_arguments(form, TEXT) is None
    assert call_arguments(form, ASK_USER_QUESTION) is None


@pytest.mark.parametrize("piece", ['\\"', '"\\"', '"a"=', '""  ', '"="', "\\\\", '" = "\\"'])
def test_a_long_result_takes_no_more_time_than_it_is_long(piece: str) -> None:
    began = time.process_time()
    with pytest.raises(InvalidRequest):
        read_answer(FULL, '"' + piece * (400_000 // len(piece)))
    assert time.process_time() - began < 3


def test_a_quote_before_the_answers_hides_none() -> None:
    assert read_answer(PLAIN, 'He said "well" and 5" more: "Review: what shall be done?"="Go ahead".') == ("yes", {})
