"""Forms as calls of a client's own tool that can ask its user: what the tool is given, and what its result says.

Coding agents ask by `questions`, each with options (Claude Code's AskUserQuestion, Codex's request_user_input); other
tools take one text, such as `question`. What a tool does not have a place for is written into its text. A result may be
JSON, pairs of question and answer as Claude Code writes them, or the words on a button.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from bridge.dify.forms import Form, FormField
from bridge.errors import InvalidRequest
from tools.arguments import checked

ACTION = "action"
"""What the question for the button is called."""

_TEXTS = ("question", "prompt", "message", "text", "query", "content", "body")
_OPTIONS = ("options", "choices")
_HEADER_CHARACTERS = 12
_PAIR = re.compile(r'"((?:[^"\\]|\\.)*)"\s*=\s*"((?:[^"\\]|\\.)*)"')


def call_arguments(form: Form, schema: Mapping[str, Any] | None, problem: str = "") -> str | None:
    """Return the arguments, as JSON, with which a tool of this schema asks what a form does.

    `problem` is what was wrong with the last answer. None where the tool has no place for a question.
    """
    properties = (schema or {}).get("properties")
    if not isinstance(properties, dict):
        return None
    if isinstance(properties.get("questions"), dict):
        asked: dict[str, Any] | None = {"questions": list(_questions(form, properties["questions"], problem))}
    else:
        asked = _one_text(form, properties, problem)
    if asked is None:
        return None
    found = checked(json.dumps(asked, ensure_ascii=False), dict(schema or {}))
    return None if found.problem else found.arguments


def _questions(form: Form, schema: Mapping[str, Any], problem: str) -> Iterator[dict[str, Any]]:
    items = schema.get("items")
    known = items.get("properties", {}) if isinstance(items, dict) else {}
    text = _words(form, problem)
    for each in form.fields:
        yield _question(known, f"{text}\n\n{each.name}?", each.name, _field_options(each))
        text = form.title
    actions = [(action.title, action.id) for action in form.actions]
    yield _question(known, text if text != form.title else f"{form.title}: what shall be done?", ACTION, actions)


def _question(known: Mapping[str, Any], text: str, name: str, options: list[tuple[str, str]]) -> dict[str, Any]:
    asked = {"question": text, "id": name, "header": name[:_HEADER_CHARACTERS], "multiSelect": False}
    question = {key: value for key, value in asked.items() if not known or key in known}
    if not known or "options" in known:
        described = known.get("options", {}).get("items", {})
        plain = isinstance(described, dict) and described.get("type") == "string"
        question["options"] = [
            label if plain else {"label": label, "description": description} for label, description in options
        ]
    return question


def _field_options(each: FormField) -> list[tuple[str, str]]:
    """Return what can be chosen for a field. Its own words can be given instead, where the client lets its user."""
    if each.options:
        return [(option, each.name) for option in each.options]
    return [(each.default or "-", "As it is"), ("(nothing)", "Leave it empty")]


def _one_text(form: Form, properties: Mapping[str, Any], problem: str) -> dict[str, Any] | None:
    texts = [name for name, schema in properties.items() if isinstance(schema, dict) and schema.get("type") == "string"]
    name = next((name for name in _TEXTS if name in texts), texts[0] if len(texts) == 1 else None)
    if name is None:
        return None
    asked: dict[str, Any] = {name: f"{_words(form, problem)}\n\n{how_to_answer(form)}"}
    place = next((each for each in _OPTIONS if isinstance(properties.get(each), dict)), None)
    items = properties[place].get("items") if place else None
    if place and not form.fields and isinstance(items, dict) and items.get("type") == "string":
        asked[place] = [action.title for action in form.actions]
    return asked


def _words(form: Form, problem: str) -> str:
    text = "\n\n".join(filter(None, [form.title, form.content.strip()]))
    return f"{text}\n\n(The last answer did not fit: {problem}.)" if problem else text


def how_to_answer(form: Form) -> str:
    """Return the sentences that say which answers fit."""
    actions = ", ".join(f"{action.id} ({action.title})" for action in form.actions)
    if not form.fields:
        return f"Answer with one of: {actions}."
    fields = ", ".join(
        each.name + (f" (one of: {', '.join(each.options)})" if each.options else "") for each in form.fields
    )
    example = json.dumps({"action": form.actions[0].id if form.actions else "", "inputs": {form.fields[0].name: "..."}})
    return f"Answer with JSON, such as {example}. The actions are {actions}; the fields are {fields}."


def read_answer(form: Form, output: str) -> tuple[str, dict[str, str]]:
    """Return the action and the fields that a tool's result stands for. Raises InvalidRequest where it names none."""
    said = _said(form, output)
    given = said.pop(ACTION, None)
    action = next((each.id for each in form.actions if _means(given, each.id, each.title)), None)
    if action is None:
        raise InvalidRequest(
            f"the result names no action of {form.name}. {how_to_answer(form)}", code="form_answer_misfit"
        )
    return action, {each.name: _chosen(each, said[each.name]) for each in form.fields if each.name in said}


def _said(form: Form, output: str) -> dict[str, str]:
    """Return what a result says, by the names of the form's fields, and `action`."""
    try:
        value = json.loads(output)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        return dict(_flat(form, value, is_outside=True))
    pairs = {question.replace('\\"', '"').replace("\\n", "\n"): given for question, given in _PAIR.findall(output)}
    if pairs:
        return dict(_flat(form, pairs))
    return {ACTION: value if isinstance(value, str) else output}


def _flat(form: Form, value: Mapping[str, Any], *, is_outside: bool = False) -> Iterator[tuple[str, str]]:
    """Yield names and what was answered. Around the answers there may be something else."""
    for key, child in value.items():
        if key in {"answers", "inputs", "fields"} and isinstance(child, dict):
            yield from _flat(form, child)
            continue
        if isinstance(child, dict) and isinstance(child.get("answers"), list):
            child = child["answers"]
        if isinstance(child, list):
            child = ", ".join(map(str, child))
        if isinstance(child, str | int | float) and (not is_outside or _is_name(form, key)):
            yield _name(form, str(key)), str(child)


def _is_name(form: Form, key: str) -> bool:
    return key == ACTION or any(key == each.name for each in form.fields)


def _name(form: Form, key: str) -> str:
    """Return which field a question was about: it is named at the end of the question's text."""
    if _is_name(form, key):
        return key
    return next((each.name for each in form.fields if key.rstrip().endswith(f"{each.name}?")), ACTION)


def _means(given: str | None, *known: str) -> bool:
    return given is not None and given.strip().strip(".!").casefold() in {each.casefold() for each in known}


def _chosen(each: FormField, given: str) -> str:
    if given == "(nothing)" and not each.options:
        return ""
    if given == "-" and each.default is None:
        return ""
    return next((option for option in each.options if _means(given, option)), given)
