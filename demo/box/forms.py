"""Human Input nodes: the forms that they pause a run with, and how they are answered or run out of time.

Sources: core/workflow/nodes/human_input/{entities,callback}.py, services/human_input_service.py,
controllers/service_api/app/human_input_form.py, tasks/human_input_timeout_tasks.py.
Differs from Dify: no mails, and the inputs of files are refused, since the box takes no uploads.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID, uuid4

from graphon.nodes.human_input.entities import Completed, Expired, HITLContext, HITLDecision, PauseRequested
from graphon.variables.segments import StringSegment
from pydantic import BaseModel, ConfigDict, Field

from demo.box.config import Limits
from demo.box.engine_names import convert_template
from demo.box.http_errors import ApiError
from demo.box.store import new_id

TIMEOUT_HANDLE = "__timeout"


class Source(BaseModel):
    """Where a default or the options come from: `constant`, or the `variable` that `selector` names."""

    type: Literal["constant", "variable"]
    selector: list[str] = Field(default_factory=list)
    value: Any = None


class Input(BaseModel):
    """One field of a form."""

    type: Literal["paragraph", "select"] = "paragraph"
    output_variable_name: str
    default: Source | None = None
    option_source: Source | None = None


class Action(BaseModel):
    """A button; its id is the handle by which the flow goes on."""

    id: str = Field(max_length=20, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    title: str = Field(max_length=100)
    button_style: str = "default"


class Delivery(BaseModel):
    """A way to the person. Only a form that is delivered to the web app has a token for the service API."""

    model_config = ConfigDict(extra="ignore")

    id: UUID = Field(default_factory=uuid4)
    type: str
    enabled: bool = True


class FormNode(BaseModel):
    """A Human Input node as an export has it."""

    model_config = ConfigDict(extra="ignore")

    title: str
    form_content: str = ""
    inputs: list[Input] = Field(default_factory=list)
    user_actions: list[Action] = Field(default_factory=list)
    delivery_methods: list[Delivery] = Field(default_factory=list)
    timeout: float = 36
    timeout_unit: Literal["hour", "day"] = "hour"


@dataclass(slots=True)
class Form:
    """A form of a paused run. Times are seconds since the epoch."""

    app_id: str
    run_id: str
    node_id: str
    node: FormNode
    content: str
    inputs: list[dict[str, Any]]
    defaults: dict[str, str]
    expires_at: float
    token: str | None = field(repr=False)
    id: str = field(default_factory=new_id)
    status: Literal["waiting", "submitted", "timeout", "expired"] = "waiting"
    action: str = ""
    data: dict[str, str] = field(default_factory=dict)

    @property
    def actions(self) -> list[dict[str, Any]]:
        """Its buttons, as Dify tells of them."""
        return [action.model_dump() for action in self.node.user_actions]

    @property
    def filled_content(self) -> str:
        """Its text with what was filled in."""
        text = self.content
        for name, value in self.data.items():
            text = text.replace("{{#$output." + name + "#}}", value)
        return text

    def required(self) -> dict[str, Any]:
        """The data of `human_input_required`."""
        return {
            "form_id": self.id,
            "node_id": self.node_id,
            "node_title": self.node.title,
            "form_content": self.content,
            "inputs": self.inputs,
            "actions": self.actions,
            "display_in_ui": True,
            "form_token": self.token,
            "resolved_default_values": self.defaults,
            "expiration_time": int(self.expires_at),
        }

    def reason(self) -> dict[str, Any]:
        """The same as a reason of `workflow_paused`."""
        data = {name: value for name, value in self.required().items() if name != "display_in_ui"}
        return {"TYPE": "human_input_required", **data}

    def shown(self) -> dict[str, Any]:
        """The answer of `GET /v1/form/human_input/{token}`."""
        return {
            "form_content": self.content,
            "inputs": self.inputs,
            "resolved_default_values": self.defaults,
            "user_actions": self.actions,
            "expiration_time": int(self.expires_at),
        }

    def ending(self) -> tuple[str, dict[str, Any]] | None:
        """The event that tells how it ended, once its run goes on."""
        told = {"node_id": self.node_id, "node_title": self.node.title}
        if self.status == "submitted":
            title = next(action.title for action in self.node.user_actions if action.id == self.action)
            said = {"rendered_content": self.filled_content, "action_id": self.action, "action_text": title}
            return "human_input_form_filled", {**told, **said}
        if self.status == "timeout":
            return "human_input_form_timeout", {**told, "expiration_time": int(self.expires_at)}
        return None


class Forms:
    """Every form of the box. `resume` is called with a run's id when it can go on, `end` when it never will."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._forms: dict[str, Form] = {}
        self.resume: Callable[[str], None] = lambda _: None
        self.end: Callable[[str, str], None] = lambda _, __: None

    def get(self, form_id: str) -> Form:
        """The form with this id."""
        return self._forms[form_id]

    def all(self) -> list[Form]:
        """Every form, oldest first."""
        return list(self._forms.values())

    def of_token(self, app_id: str, token: str) -> Form | None:
        """The form of an app that this token opens."""
        return next((form for form in self.all() if form.token == token and form.app_id == app_id), None)

    def ended(self, run_id: str, node_id: str) -> tuple[str, dict[str, Any]] | None:
        """The event that tells how the form of a node ended."""
        form = self._newest(run_id, node_id)
        return form.ending() if form else None

    def decisions(self, app_id: str, node_id: str, data: Mapping[str, Any]) -> Callable[[HITLContext], HITLDecision]:
        """What a node asks whether to pause, and how to go on."""
        node = FormNode.model_validate(data)

        def decide(context: HITLContext) -> HITLDecision:
            form = self._newest(context.workflow_execution_id, node_id)
            if form is None:
                form = self._make(app_id, node_id, node, context)
            match form.status:
                case "submitted":
                    given = {name: StringSegment(value=value) for name, value in form.data.items()}
                    return Completed(form.action, given, {**given, **_outputs(form)})
                case "timeout":
                    return Expired(TIMEOUT_HANDLE, _outputs(form))
                case _:
                    return PauseRequested(session_id=form.id)

        return decide

    def submit(self, form: Form, action: str, data: Mapping[str, Any]) -> None:
        """Answer a form, and let its run go on. Raises ApiError with Dify's codes and texts."""
        with self._lock:
            self.check_active(form)
            if action not in {each.id for each in form.node.user_actions}:
                raise ApiError("invalid_form_data", f"Invalid action: {action}", 400)
            missing = [each.output_variable_name for each in form.node.inputs if each.output_variable_name not in data]
            if missing:
                raise ApiError("invalid_form_data", f"Missing required inputs: {', '.join(missing)}", 400)
            names = {each.output_variable_name for each in form.node.inputs}
            form.status, form.action = "submitted", action
            form.data = {name: str(value) for name, value in data.items() if name in names}
        self.resume(form.run_id)

    def check_active(self, form: Form) -> None:
        """Raise ApiError where nobody can answer it any more."""
        if form.status == "submitted":
            text = f"This form has already been submitted by another user, form_id={form.id}"
            raise ApiError("human_input_form_submitted", text, 412)
        if form.status != "waiting" or form.expires_at <= time.time():
            raise ApiError("human_input_form_expired", f"This form has expired, form_id={form.id}", 412)

    def _make(self, app_id: str, node_id: str, node: FormNode, context: HITLContext) -> Form:
        pool: Any = context.variable_pool
        seconds = self._limits.form_hour_seconds * node.timeout * (24 if node.timeout_unit == "day" else 1)
        defaults = {
            each.output_variable_name: str(value.to_object())
            for each in node.inputs
            if each.default
            and each.default.type == "variable"
            and (value := pool.get(each.default.selector)) is not None
        }
        form = Form(
            app_id=app_id,
            run_id=context.workflow_execution_id,
            node_id=node_id,
            node=node,
            content=convert_template(pool, node.form_content).markdown,
            inputs=[_resolved(each, pool) for each in node.inputs],
            defaults=defaults,
            expires_at=time.time() + seconds,
            token=new_id() if any(way.enabled and way.type == "webapp" for way in node.delivery_methods) else None,
        )
        with self._lock:
            self._forms[form.id] = form
        self._after(seconds, self._time_out, form)
        self._after(self._limits.form_seconds, self._expire, form)
        return form

    def _after(self, seconds: float, act: Callable[[Form], None], form: Form) -> None:
        # Dify looks for forms whose time is up once in a while.
        timer = threading.Timer(seconds + self._limits.form_check_seconds, act, [form])
        timer.daemon = True
        timer.start()

    def _time_out(self, form: Form) -> None:
        if self._closes(form, "timeout"):
            self.resume(form.run_id)

    def _expire(self, form: Form) -> None:
        if self._closes(form, "expired"):
            self.end(form.run_id, f"Human input global timeout at node {form.node_id}")

    def _closes(self, form: Form, status: Literal["timeout", "expired"]) -> bool:
        with self._lock:
            waited = form.status == "waiting"
            form.status = status if waited else form.status
            return waited

    def _newest(self, run_id: str, node_id: str) -> Form | None:
        found = [form for form in self.all() if form.run_id == run_id and form.node_id == node_id]
        return found[-1] if found else None


def _resolved(field_: Input, pool: Any) -> dict[str, Any]:
    """A field as Dify tells of it: options that a variable holds are written out."""
    told = field_.model_dump(exclude_none=True)
    source = field_.option_source
    if source and source.type == "variable" and (value := pool.get(source.selector)) is not None:
        told["option_source"] = {"type": "constant", "selector": [], "value": list(value.to_object())}
    return told


def _outputs(form: Form) -> dict[str, StringSegment]:
    title = next((action.title for action in form.node.user_actions if action.id == form.action), "")
    values = {"__action_id": form.action, "__action_value": title, "__rendered_content": form.filled_content}
    return {name: StringSegment(value=value) for name, value in values.items()}
