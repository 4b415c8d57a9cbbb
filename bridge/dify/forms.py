"""The forms of Human Input nodes: how Dify tells of them, and which answers fit them.

Source: `core/workflow/nodes/human_input/entities.py` and `controllers/service_api/app/human_input_form.py` of Dify
1.16. Dify itself looks only whether all fields are there, and whether there is such an action.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from bridge.errors import InvalidRequest
from tools.fingerprint import text_digest
from tools.surrogates import whole

LONGEST_VALUE = 100_000
_PLACE = re.compile(r"\{\{#\$output\.(\w+)#\}\}")
_TEXTS = {"paragraph", "text-input", "text_input"}


class FormField(BaseModel):
    """A field. `kind` is Dify's word: paragraph, select, file, file-list. `default` is None where there is none."""

    model_config = ConfigDict(frozen=True)

    name: str
    kind: str = "paragraph"
    default: str | None = None
    options: list[str] = Field(default_factory=list)

    @property
    def takes_text(self) -> bool:
        """Whether it can be filled in here: files are given in Dify alone."""
        return self.kind in _TEXTS or bool(self.options)


class FormAction(BaseModel):
    """A button. `style` is Dify's word: default, primary, accent, ghost."""

    model_config = ConfigDict(frozen=True)

    id: str
    title: str
    style: str = "default"


class Form(BaseModel):
    """What a person is asked. `content` is Markdown, in which `[NAME]` is the place of a field."""

    model_config = ConfigDict(frozen=True)

    title: str = ""
    content: str = Field(default="", repr=False)
    fields: list[FormField] = Field(default_factory=list)
    actions: list[FormAction] = Field(default_factory=list)

    @property
    def name(self) -> str:
        """What it is called where something is said of it."""
        return f"the form {self.title!r}" if self.title else "the form"

    def checked(self, action: str, inputs: Mapping[str, Any]) -> dict[str, str]:
        """Return the fields as Dify takes them; one that is left out has its default. Raises InvalidRequest."""
        self._check_action(action)
        names = [each.name for each in self.fields]
        for name in inputs:
            if name not in names:
                known = f"its fields are {', '.join(names)}" if names else "it has no fields"
                raise _misfit(f"{self.name} has no field {name!r}; {known}", f"inputs.{name}")
        return {each.name: self._value(each, inputs.get(each.name, each.default)) for each in self.fields}

    def _check_action(self, action: str) -> None:
        known = [each.id for each in self.actions]
        if action not in known:
            raise _misfit(f"{self.name} has no action {action!r}; its actions are {', '.join(known)}", "action")

    def _value(self, asked: FormField, value: object) -> str:
        param = f"inputs.{asked.name}"
        if not asked.takes_text:
            raise _misfit(
                f"the field {asked.name} takes a file, which can be given in Dify alone: answer {self.name} there",
                param,
            )
        if value is None:
            raise _misfit(f"{self.name} needs its field {asked.name}", param)
        if not isinstance(value, str):
            raise _misfit(f"the field {asked.name} takes a text", param)
        if asked.options and value not in asked.options:
            raise _misfit(f"the field {asked.name} takes one of: {', '.join(asked.options)}", param)
        if len(value) > LONGEST_VALUE:
            raise _misfit(f"the field {asked.name} takes at most {LONGEST_VALUE} characters", param)
        return value


def _misfit(message: str, param: str) -> InvalidRequest:
    return InvalidRequest(message, code="form_answer_misfit", param=param)


@dataclass(frozen=True, slots=True)
class PausedForm:
    """A form that pauses a run. Without a `token` it can be answered only where Dify delivers it.

    `expires_at` is in seconds since the epoch, 0 where Dify says nothing.
    """

    id: str
    node_id: str
    form: Form
    token: str = field(default="", repr=False)
    expires_at: float = 0.0

    @property
    def fingerprint(self) -> str:
        """What is the same when a rerun asks the same again."""
        return text_digest(f"{self.node_id}\n{self.form.model_dump_json()}")


def paused_form(reason: object) -> PausedForm | None:
    """Return the form of a reason of `workflow_paused`, None for a pause of another kind."""
    if not isinstance(reason, Mapping) or not isinstance(reason.get("form_id"), str):
        return None
    told = whole(dict(reason))
    defaults = _mapping(told.get("resolved_default_values"))
    fields = [_field(each, defaults) for each in _mappings(told.get("inputs"))]
    form = Form(
        title=_text(told, "node_title"),
        content=_PLACE.sub(r"[\1]", _text(told, "form_content")),
        fields=[each for each in fields if each.name],
        actions=[_action(each) for each in _mappings(told.get("actions")) if _text(each, "id")],
    )
    expires_at = told.get("expiration_time")
    return PausedForm(
        id=_text(told, "form_id")[:64],
        node_id=_text(told, "node_id")[:64],
        form=form,
        token=_text(told, "form_token")[:128],
        expires_at=float(expires_at) if isinstance(expires_at, int | float) else 0.0,
    )


def _field(told: Mapping[str, Any], defaults: Mapping[str, Any]) -> FormField:
    name, default, source = _text(told, "output_variable_name"), told.get("default"), told.get("option_source")
    constant = default.get("value") if isinstance(default, Mapping) and default.get("type") == "constant" else None
    known = defaults.get(name, constant)
    options = source.get("value") if isinstance(source, Mapping) else None
    return FormField(
        name=name,
        kind=_text(told, "type") or "paragraph",
        default=None if known is None else str(known),
        options=[str(option) for option in options] if isinstance(options, list) else [],
    )


def _action(told: Mapping[str, Any]) -> FormAction:
    return FormAction(
        id=_text(told, "id"), title=_text(told, "title") or _text(told, "id"), style=_text(told, "button_style")
    )


def _text(source: Mapping[str, Any], name: str) -> str:
    value = source.get(name)
    return value if isinstance(value, str) else ""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []
