"""How Dify tells of a form, and which answers fit it."""

from typing import Any

import pytest

from bridge.dify.forms import LONGEST_VALUE, paused_form
from bridge.errors import InvalidRequest

REASON: dict[str, Any] = {
    "TYPE": "human_input_required",
    "form_id": "form-1",
    "node_id": "node-1",
    "node_title": "Review",
    "form_content": "Publish? {{#$output.note#}}",
    "inputs": [
        {"type": "paragraph", "output_variable_name": "note", "default": {"type": "constant", "value": "none"}},
        {"type": "paragraph", "output_variable_name": "by", "default": {"type": "variable", "selector": ["a", "b"]}},
        {"type": "select", "output_variable_name": "size", "option_source": {"type": "constant", "value": ["s", "l"]}},
        {"type": "file", "output_variable_name": "photo", "allowed_file_types": ["image"]},
    ],
    "actions": [{"id": "yes", "title": "Go ahead", "button_style": "primary"}, {"id": "no"}],
    "resolved_default_values": {"by": "ada"},
    "form_token": "a-token",
    "expiration_time": 1735689600,
}


def test_a_form_as_dify_tells_of_it() -> None:
    paused = paused_form(REASON)
    assert paused is not None
    assert (paused.id, paused.node_id, paused.token, paused.expires_at) == ("form-1", "node-1", "a-token", 1735689600)
    form = paused.form
    assert (form.title, form.content) == ("Review", "Publish? [note]")
    assert [(each.name, each.default, each.options, each.takes_text) for each in form.fields] == [
        ("note", "none", [], True),
        ("by", "ada", [], True),
        ("size", None, ["s", "l"], True),
        ("photo", None, [], False),
    ]
    actions = [(each.id, each.title, each.style) for each in form.actions]
    assert actions == [("yes", "Go ahead", "primary"), ("no", "no", "")]
    assert "a-token" not in repr(paused)
    assert "Publish" not in repr(paused)


@pytest.mark.parametrize("reason", [None, "paused", {}, {"form_id": 7}, {"TYPE": "scheduled_pause", "message": "x"}])
def test_a_pause_of_another_kind_has_no_form(reason: object) -> None:
    assert paused_form(reason) is None


@pytest.mark.parametrize(
    "broken", [{"inputs": None}, {"inputs": [7, {}]}, {"actions": "x"}, {"expiration_time": "soon"}, {"form_token": 7}]
)
def test_what_is_odd_in_a_form_harms_nobody(broken: dict[str, Any]) -> None:
    paused = paused_form(REASON | broken)
    assert paused is not None
    assert paused.form.title == "Review"


def test_fields_that_are_left_out_have_their_defaults() -> None:
    paused = paused_form(REASON | {"inputs": REASON["inputs"][:3]})
    assert paused is not None
    assert paused.form.checked("yes", {"size": "l"}) == {"note": "none", "by": "ada", "size": "l"}


def test_a_file_can_be_given_in_dify_alone_and_a_text_has_an_end() -> None:
    paused = paused_form(REASON)
    assert paused is not None
    with pytest.raises(InvalidRequest, match="takes a file, which can be given in Dify alone"):
        paused.form.checked("yes", {"size": "l"})
    with pytest.raises(InvalidRequest, match="at most"):
        paused.form.checked("yes", {"note": "x" * (LONGEST_VALUE + 1)})


def test_a_rerun_that_asks_the_same_is_recognised_by_nothing_else() -> None:
    first, same = paused_form(REASON), paused_form(REASON | {"form_id": "form-2", "form_token": "other"})
    other = paused_form(REASON | {"form_content": "Delete?"})
    assert first is not None
    assert same is not None
    assert other is not None
    assert first.fingerprint == same.fingerprint != other.fingerprint
