"""The forms with which Human Input nodes pause runs, and what people answer, on the page or by a tool of the client's.

A pause is written before anybody is told of it, and an answer before Dify is given it. Who goes on with the run is
bridge.runs.runs: it gives Dify what is written here, as often as it takes.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bridge.dify.errors import DifyError, FormGone, FormSubmitted
from bridge.dify.forms import Form, FormField, PausedForm
from bridge.errors import BridgeError, Conflict, Gone, InvalidRequest, NotFound, Unavailable, UnprocessableRun
from bridge.runs import request_id
from bridge.runs.services import Services
from bridge.runs.tickets.moves import allow
from bridge.store import clock
from bridge.store.rows import CallRow, FormRow, InvocationRow, RunRow, TicketRow
from bridge.store.run_record import Change
from tools.arguments import checked
from tools.definitions import ToolDefinition
from tools.ids import random_name
from tools.run_states import RunEvent
from tools.ticket_states import CallState

log = logging.getLogger("clawback.forms")

FORMS = "forms of "
"""The wake-up of whoever waits for an answer to a form of the run that follows."""

AGAIN_SECONDS = 5.0
"""When a client whom nobody answered may ask again."""

MOST_ASKED = 3
"""How often a run's client is asked by calls before a form is left to a person at the bridge."""

LONGEST_SECONDS = 7 * 86_400.0
"""How long a form waits where Dify does not say."""


def form_of(row: FormRow) -> Form:
    """Return what a form asks."""
    return Form.model_validate_json(row.definition)


@dataclass(slots=True)
class Opened:
    """What waits from now on: forms for a person at the bridge, and calls by which a client asks its own user."""

    forms: list[FormRow] = field(default_factory=list)
    tickets: list[TicketRow] = field(default_factory=list)


class Forms:
    """What waits for a person to fill it in."""

    def __init__(self, services: Services) -> None:
        self._services, self._store = services, services.store

    # A pause

    def pause(self, run: RunRow, paused: Sequence[PausedForm]) -> Opened | None:
        """Write that these forms pause an attempt. Return those that somebody has to answer from now on.

        A rerun asks again what was answered before: it gets the same answer. None where the attempt is over.
        """
        tool = self._clients_tool(run)

        def decision(change: Change) -> Opened | None:
            if change.state.run.attempt != run.attempt or not change.step(RunEvent.SUSPEND):
                return None
            known = {form.id: form for form in self._store.forms.of_run(run.id)}
            opened = Opened()
            for each in paused:
                if each.id in known:
                    change.also(self._store.forms.pausing_again(each.id, run.attempt))
                    continue
                row = self._new(change.state.run, each)
                former = _same(row, known.values())
                if former:
                    change.also(self._store.forms.taking_over(former, row))
                    row = _answered_like(former, row)
                ticket = None if former else self._ticket(change, row, tool)
                row = replace(row, ticket_id=ticket.id) if ticket else row
                change.also(self._store.forms.adding(row))
                known[row.id] = row
                if ticket:
                    opened.tickets.append(ticket)
                elif not former:
                    opened.forms.append(row)
            return opened

        return self._store.decide(run.id, decision)

    @staticmethod
    def _new(run: RunRow, paused: PausedForm) -> FormRow:
        now = clock.now()
        return FormRow(
            id=paused.id,
            run_id=run.id,
            attempt=run.attempt,
            workflow_run_id=run.workflow_run_id,
            node_id=paused.node_id,
            fingerprint=paused.fingerprint,
            definition=paused.form.model_dump_json(),
            token=paused.token,
            created_at=now,
            expires_at=paused.expires_at or now + LONGEST_SECONDS,
        )

    # The client's own user

    def _clients_tool(self, run: RunRow) -> ToolDefinition | None:
        """Return the tool by which the run's client asks its user, where the app is to be answered so and it has it."""
        app = self._services.apps.get(run.model)
        kind, _, name = (app.human_input if app else "page").partition(":")
        tools = self._services.requests.of(run).tools if kind == "client" else []
        return next((tool for tool in tools if tool.name == name), None)

    def _ticket(self, change: Change, row: FormRow, tool: ToolDefinition | None, problem: str = "") -> TicketRow | None:
        """Open the ticket by which a client asks its user; None where it has no tool that can."""
        arguments = call_arguments(form_of(row), tool.function.parameters, problem) if tool else None
        if tool is None or arguments is None:
            return None
        now, run, ticket_id, asker = clock.now(), change.state.run, random_name(), f"form-{random_name()}"
        change.state.invocations[asker] = InvocationRow(
            asker, run.id, run.attempt, asker, successor=asker, state="stopped", answer=None, error=None, ended_at=now
        )
        call = CallRow(random_name(), ticket_id, tool.name, arguments, None, None, state=CallState.OPEN.value)
        expires_at = now + self._services.config.limits.ticket_seconds
        ticket = TicketRow(
            id=ticket_id,
            run_id=run.id,
            invocation_id=asker,
            round=0,
            state="open",
            content=None,
            shown="",
            segment=None,
            reply=None,
            reason=None,
            created_at=now,
            expires_at=min(row.expires_at, expires_at),
            calls=[call],
            request_id=request_id.current() or None,
        )
        return change.open_ticket(ticket, [allow(call, "human_input")])

    def settle(self, run: RunRow) -> tuple[list[TicketRow], list[FormRow]]:
        """Take what has become of the forms that pause a run; return the tickets that ask again, and the forms."""
        if not self._store.forms.pausing(run):
            return [], []
        return self.take_results(run), self.look(run)

    def take_results(self, run: RunRow) -> list[TicketRow]:
        """Take what the client's user has answered. Return the tickets that ask again, where an answer does not fit."""
        again = []
        for row in self._store.forms.pausing(run):
            ticket = self._store.ticket(row.ticket_id) if row.ticket_id and row.state == "open" else None
            result = ticket.calls[0].result() if ticket and ticket.state == "resolved" else None
            if ticket is None or result is None:
                continue
            try:
                action, inputs = read_answer(form_of(row), result.output)
                self._fill_in(row, action, inputs, "client")
            except InvalidRequest as error:
                again += self._ask_again(run, row, error.message)
        return again

    def _ask_again(self, run: RunRow, row: FormRow, problem: str) -> list[TicketRow]:
        """Ask a client's user once more, or, after several times, a person at the bridge."""
        tool = self._clients_tool(run)

        def decision(change: Change) -> TicketRow | None:
            asked = sum(each.startswith("form-") for each in change.state.invocations)
            ticket = self._ticket(change, row, tool, problem.rstrip(".")) if asked < MOST_ASKED else None
            change.also(self._store.forms.handing(row.id, ticket.id if ticket else None))
            return ticket

        ticket = self._store.decide(run.id, decision)
        log.info("the answer of a client to a form did not fit", extra={"run": run.id, "form": row.id})
        if ticket is None:
            self.tell(run, [row])
        return [ticket] if ticket else []

    def tell(self, run: RunRow, opened: Sequence[FormRow]) -> None:
        """Let people know of forms that are written."""
        for row in opened:
            log.info("a form waits for a person", extra={"run": run.id, "form": row.id})
            self._services.observers.form_opened(run, row, form_of(row).title)

    # Waiting

    def look(self, run: RunRow) -> list[FormRow]:
        """List the forms that pause a run, after whose time is up has been written."""
        rows = self._store.forms.pausing(run)
        due = [row for row in rows if row.state == "open" and row.expires_at <= clock.now()]
        for row in due:
            if self._store.forms.expire(row.id):
                log.info("a form's time is up", extra={"run": run.id, "form": row.id})
        return self._store.forms.pausing(run) if due else rows

    def ask_dify(self, run: RunRow, rows: Sequence[FormRow]) -> None:
        """Find out whether somebody has answered a form in Dify itself."""
        for row in rows:
            try:
                self._services.apps.client(run.model).check_form(row.token)
            except FormSubmitted:
                self._store.forms.submit(row.id, "dify")
            except FormGone:
                self._store.forms.expire(row.id)
            except (DifyError, KeyError):
                # It is asked again, or the answer that comes here settles it.
                continue

    def expired(self, run: RunRow) -> str | None:
        """Return what is to be said of forms that nobody answered in time; None where there are none."""
        if run.attempt == 1:
            # Whatever a form paused goes on in another attempt.
            return None
        names = [form_of(row).name for row in self._store.forms.of_run(run.id) if row.state == "expired"]
        return f"nobody answered {' and '.join(dict.fromkeys(names))} in time" if names else None

    def still_waiting(self, rows: Sequence[FormRow]) -> BridgeError:
        """Return what a client is told who has waited for long enough."""
        seconds = self._services.config.limits.form_hold_seconds
        names = " and ".join(dict.fromkeys(form_of(row).name for row in rows))
        return Unavailable(
            f"the chatflow waits for a person to answer {names}, and nobody has answered for {seconds:g} s "
            "(limits.form_hold_seconds); send the same request again to get the answer",
            code="form_waiting",
            retry_after=AGAIN_SECONDS,
        )

    # Answers

    def waiting(self) -> list[FormRow]:
        """List the forms that wait for a person, oldest first."""
        now = clock.now()
        return [row for row in self._store.forms.open() if row.expires_at > now]

    def get(self, form_id: str) -> FormRow:
        """Return a form. Raises NotFound."""
        row = self._store.forms.get(form_id)
        if row is None:
            raise NotFound(
                f"there is no form {form_id}; `clawback tickets` lists those that wait",
                code="form_not_found",
                param="form_id",
            )
        return row

    def answer(self, form_id: str, action: str, inputs: Mapping[str, Any], by: str) -> FormRow:
        """Take a person's answer, after which the run goes on. The same once more changes nothing.

        Raises NotFound, InvalidRequest (it does not fit), Conflict (there is another answer), Gone.
        """
        row = self.get(form_id)
        if row.ticket_id and row.state == "open":
            raise Conflict(
                f"the run's own client asks its user to answer {form_of(row).name} (human_input of its app)",
                code="form_at_client",
            )
        return self._fill_in(row, action, inputs, by)

    def _fill_in(self, row: FormRow, action: str, inputs: Mapping[str, Any], by: str) -> FormRow:
        try:
            filled = json.dumps(form_of(row).checked(action, inputs), ensure_ascii=False, sort_keys=True)
        except InvalidRequest:
            if row.state == "open":
                raise
            return self._answered_before(row, action, "")
        in_time = row.state != "open" or row.expires_at > clock.now()
        if in_time and self._store.forms.answer(row.id, action, filled, by):
            log.info("a form was answered", extra={"run": row.run_id, "form": row.id})
            self._services.wakeups.wake(FORMS + row.run_id)
            return self.get(row.id)
        return self._answered_before(self.get(row.id), action, filled)

    @staticmethod
    def _answered_before(row: FormRow, action: str, filled: str) -> FormRow:
        name = form_of(row).name
        if row.state in {"answered", "submitted"}:
            if (row.action, row.inputs) == (action, filled):
                return row
            who = row.answered_by or "somebody in Dify"
            raise Conflict(f"{who} has already answered {name} differently", code="form_answered")
        if row.state == "cancelled":
            raise Gone(f"the run of {name} has ended and needs no answer any more", code="form_cancelled")
        raise Gone(f"the time limit for answering {name} is over", code="form_expired")


def out_of_time(text: str) -> UnprocessableRun:
    """Return what a client is told of a run that has no answer because nobody filled in its form."""
    return UnprocessableRun(
        f"{text}, and the chatflow has no answer for that; give its Human Input node a way on for when its time is up, "
        "or more time",
        code="form_expired",
    )


def _same(row: FormRow, known: Any) -> FormRow | None:
    """Return the answered form of an earlier workflow run that asked the same, unless another took over its answer."""
    return next(
        (
            each
            for each in known
            if each.fingerprint == row.fingerprint
            and each.workflow_run_id != row.workflow_run_id
            and each.state in {"answered", "submitted"}
            and each.action
            and each.successor is None
        ),
        None,
    )


def _answered_like(former: FormRow, row: FormRow) -> FormRow:
    return replace(
        row,
        state="answered",
        action=former.action,
        inputs=former.inputs,
        answered_by=former.answered_by,
        answered_at=former.answered_at,
    )


ACTION = "action"
"""What the question for the button is called."""

_TEXTS = ("question", "prompt", "message", "text", "query", "content", "body")
_OPTIONS = ("options", "choices")
_HEADER_CHARACTERS = 12
_PAIR = re.compile(r'"((?:[^"\\]|\\.)*+)(?:"\s*+=\s*+"((?:[^"\\]|\\.)*+)")?')
"""A question and its answer. What is no pair is a match too, so that nothing is looked at once for each quote in it."""


def call_arguments(form: Form, schema: Mapping[str, Any] | None, problem: str = "") -> str | None:
    """Return the arguments, as JSON, with which a tool of this schema asks what a form does.

    `problem` is what was wrong with the last answer. None where the tool has no place for a question, or a field is
    called like the question for the button: an answer could not say which of them it means.
    """
    properties = (schema or {}).get("properties")
    if not isinstance(properties, dict) or any(each.name == ACTION for each in form.fields):
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
    found = (match.groups() for match in _PAIR.finditer(output))
    pairs = {question.replace('\\"', '"').replace("\\n", "\n"): given for question, given in found if given is not None}
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
