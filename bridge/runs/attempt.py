"""One Dify workflow run: what Dify streams goes into its run, and how it ended is returned."""

import json
import logging
import re
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import urljoin

from bridge.config import App
from bridge.dify import events
from bridge.dify.apps import AppFacts
from bridge.dify.errors import (
    ConversationGone,
    DifyError,
    FormGone,
    FormSubmitted,
    InvalidInput,
    KilledByTimeout,
    NoAnswer,
    RanTooLong,
    RunFailed,
    ServerError,
    StreamBroke,
    TooManyRequests,
    Unreachable,
    WorkerStopped,
    failed,
    run_failed,
)
from bridge.dify.events import answer_in
from bridge.dify.failures import client_error
from bridge.dify.forms import PausedForm
from bridge.errors import BridgeError, Gone, Internal, UnprocessableRun
from bridge.runs.dify_slots import DifySlots
from bridge.runs.inputs import files_of, query_variable
from bridge.runs.live import LiveRun, LiveRuns
from bridge.runs.requests import RunRequest, as_asked
from bridge.runs.segments import Citation
from bridge.runs.services import Breath, Services
from bridge.store import clock
from bridge.store.rows import FormRow, MarkerRow, RunRow, SessionRow
from tools.marker import marker_digest, marker_for, new_secret

log = logging.getLogger("clawback.runs")

_CUT_OFF = (StreamBroke, NoAnswer, RanTooLong, KilledByTimeout, WorkerStopped)
"""What ends a workflow from outside, whatever its nodes were doing."""

LISTEN_AGAIN_SECONDS = (0.0, 1.0, 2.0, 4.0, 8.0)
"""The pauses before each try to attach to a run whose events broke off."""

PROBE = "probe"
"""The auxiliary calls of doctor, for which no person is asked anything."""

FORM_TIMEOUT = "human input global timeout"
"""How Dify ends a run whose form waits for longer than any may: `tasks/human_input_timeout_tasks.py` of 1.16."""

HEARD_SECONDS = 15.0
"""A try that lasted this long found the run."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The workflow ran to its end, and all that it said is told."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The workflow ran to its end, but nodes of it ended with calls whose results are to come."""


@dataclass(frozen=True, slots=True)
class Paused:
    """The workflow waits for a person to answer forms; `forms` are those that Dify tells of."""

    forms: tuple[PausedForm, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """The workflow ended without an answer; `cut_off` says that something outside of it ended it, and `is_over` that it
    has ended, or never began.
    """

    error: BridgeError
    cut_off: bool = False
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class Dropped:
    """The run is over, or another attempt of it has begun: nobody waits for this one any more."""


Outcome = Answered | Stopped | Paused | Failed | Dropped


class _StillPaused(Exception):
    """Dify could not be given the answer of a form, so that its run has not gone on."""


class Attempt:
    """A context manager that has a place at Dify. `outcome` is awaited once, then `drain`.

    One that `goes_on` gives Dify the answers of the forms that paused its workflow run, and listens on.
    """

    def __init__(
        self,
        services: Services,
        slots: DifySlots,
        live_runs: LiveRuns,
        run: RunRow,
        app: App,
        request: RunRequest,
        live: LiveRun,
        session: SessionRow | None,
        *,
        goes_on: bool = False,
    ) -> None:
        self._services, self._store = services, services.store
        self._goes_on = goes_on
        self._slots = slots
        self._live_runs = live_runs
        self._run, self._app, self._request = run, app, request
        self._live, self._session = live, session
        self._stack = ExitStack()
        self._has_ended = False
        self._events: Generator[events.Event] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def outcome(self) -> Outcome:
        """Wait until the workflow has ended, and return how it did."""
        try:
            self._stack.enter_context(self._slots.place(self._app, self._run.id))
            self._stack.enter_context(self._services.observers.dify_streams(self._run))
            # Another bridge may have gone on with it while it waited.
            if self._is_dropped() or self._live_runs.is_elsewhere(self._live):
                return Dropped()
            return self._listened()
        except BridgeError as error:
            return Failed(error.fresh())
        except _StillPaused:
            return Paused()
        except DifyError as error:
            cut_off = isinstance(error, _CUT_OFF)
            return Failed(client_error(error), cut_off=cut_off, is_over=not cut_off)
        except Exception:
            log.exception("a run's stream failed", extra={"run": self._run.id})
            return Failed(Internal("the bridge failed while it read Dify's stream; its log says more"))

    def drain(self) -> None:
        """Read what Dify still says: it keeps a message only once it has said all of it."""
        breath = Breath()
        with suppress(DifyError, BridgeError):
            for event in self._events or ():
                breath.take()
                if self._is_dropped():
                    return
                self._take_note(event)

    def _listened(self) -> Outcome:
        self._events = self._stack.enter_context(closing(self._stream()))
        breath = Breath()
        for event in self._events:
            breath.take()
            clock.look_anew()
            self._live.nodes.note(event, self._ended_invocations)
            if self._is_dropped():
                if isinstance(event, events.WorkflowStarted):
                    # Whoever ended the attempt did not know its task yet.
                    self._stop_task(event.task_id)
                return Dropped()
            if self._live.failure:
                return Failed(self._live.failure.fresh())
            if self._live.suspended:
                self._ignore(event)
            elif outcome := self._take(event):
                return outcome
        if self._live.over or self._is_dropped():
            return Dropped()
        return Failed(Internal("Dify's stream ended before the workflow did"), is_over=self._has_ended)

    def _ended_invocations(self) -> frozenset[str]:
        record = self._store.record(self._run.id)
        rows = record.invocations.values() if record else ()
        return frozenset(row.id for row in rows if row.attempt == self._run.attempt and row.state != "running")

    def _is_dropped(self) -> bool:
        """Whether the run was cancelled, or another attempt of it began since."""
        return not self._live_runs.is_current(self._run, self._live)

    def _stop_task(self, task_id: str) -> None:
        self._services.apps.stop(self._run.model, task_id, self._run.dify_user)

    # Dify's stream

    def _stream(self) -> Generator[events.Event]:
        if self._goes_on:
            yield from self._gone_on()
            return
        try:
            yield from self._heard(self._run.conversation_id)
        except ConversationGone:
            # Someone deleted it in Dify; the transcript holds what it held.
            yield from self._heard("")

    def _gone_on(self) -> Generator[events.Event]:
        run = self._run
        try:
            with self._services.apps.client(run.model).run_events(run.workflow_run_id, run.dify_user) as stream:
                if stream is None:
                    raise RunFailed("Dify does not know the workflow run any more that a form had paused")
                yield from self._given_answers(stream)
        except StreamBroke:
            self._give_answers()
            if not (yield from self._heard_again()):
                raise

    def _given_answers(self, stream: Iterable[events.Event]) -> Iterator[events.Event]:
        """Give Dify the answers once it is listened to, so that nothing of what follows goes by unheard."""
        is_given = False
        for event in stream:
            if not is_given:
                is_given = True
                self._give_answers()
            if isinstance(event, events.WorkflowFinished):
                self._check_whole(event)
            yield event

    def _give_answers(self) -> None:
        for form in self._store.forms.pausing(self._run):
            if form.state == "answered":
                self._give_answer(form)

    def _give_answer(self, form: FormRow) -> None:
        """Give Dify an answer, again where it is unknown whether it arrived: of two that are the same, it takes one."""
        client, user = self._services.apps.client(self._run.model), self._run.dify_user
        for pause in LISTEN_AGAIN_SECONDS:
            time.sleep(pause)
            try:
                client.submit_form(form.token, form.action or "", json.loads(form.inputs or "{}"), user)
            except FormGone:
                self._store.forms.expire(form.id)
            except InvalidInput as error:
                log.warning("Dify refuses the answer of a form", extra={"run": self._run.id, "error": error.message})
                self._store.forms.reopen(form.id)
                raise _StillPaused from None
            except (Unreachable, NoAnswer, ServerError, TooManyRequests) as error:
                log.warning("Dify did not take the answer of a form", extra={"run": self._run.id, "error": str(error)})
                continue
            except FormSubmitted:
                self._store.forms.submit(form.id)
            else:
                self._store.forms.submit(form.id)
            return
        raise _StillPaused

    def _heard(self, conversation_id: str) -> Generator[events.Event]:
        try:
            yield from self._begun(conversation_id)
        except StreamBroke:
            # Raised on as it is: kept under a name, an error and the frames that it keeps would keep each other.
            if not (yield from self._heard_again()):
                raise

    def _begun(self, conversation_id: str) -> Generator[events.Event]:
        run, client = self._run, self._services.apps.client(self._app.model)
        facts = self._services.apps.catalogue.of(self._app)
        trace_id = self._services.observers.trace_id(run.id)
        query, inputs = self._with_marker(facts)
        files = files_of(client, facts, self._request, run.dify_user)
        if facts.kind == "workflow":
            going = client.run_workflow(inputs=inputs, user=run.dify_user, files=files, trace_id=trace_id)
        elif facts.kind == "completion":
            going = client.complete(inputs=inputs, user=run.dify_user, files=files, trace_id=trace_id)
        else:
            going = client.chat(
                query=query,
                inputs=inputs,
                user=run.dify_user,
                conversation_id=conversation_id,
                files=files,
                trace_id=trace_id,
            )
        with going as stream:
            yield from stream

    def _heard_again(self) -> Generator[events.Event, None, bool]:
        """Attach to the run's events, which broke off. Return whether that could be done."""
        begun = self._store.run(self._run.id)
        if begun is None or begun.workflow_run_id in {"", None if self._goes_on else self._run.workflow_run_id}:
            return False
        tries, until = 0, time.monotonic() + self._services.config.limits.dify_workflow_seconds
        while tries < len(LISTEN_AGAIN_SECONDS):
            time.sleep(LISTEN_AGAIN_SECONDS[tries])
            tries, began_at = tries + 1, time.monotonic()
            if self._is_dropped():
                return True
            with (
                suppress(StreamBroke, Unreachable, NoAnswer, ServerError),
                self._services.apps.client(self._run.model).run_events(
                    begun.workflow_run_id, self._run.dify_user
                ) as stream,
            ):
                if stream is None:
                    return False
                log.info("listening to a run again", extra={"run": self._run.id})
                self._live.nodes.note_gap()
                yield from self._caught_up(stream)
                return True
            if time.monotonic() - began_at >= HEARD_SECONDS and (self._live.nodes.begun or time.monotonic() < until):
                # It is still there. How long it may be silent is for the watchdog to say.
                tries = 0
        return False

    def _caught_up(self, stream: Iterable[events.Event]) -> Iterator[events.Event]:
        """Yield what a run says after its events broke off. Its text comes at its end: some of it went by unheard."""
        for event in stream:
            match event:
                case events.WorkflowStarted() | events.MessageReplace() | events.ReasoningChunk():
                    continue
                case events.Message() if event.answer:
                    continue
                case events.WorkflowFinished():
                    self._check_whole(event)
            yield event

    def _check_whole(self, event: events.WorkflowFinished) -> None:
        if event.succeeded and not self._live.catch_up(answer_in(event.outputs)):
            raise StreamBroke("The run's events broke off, and what it answered in the end is something else")

    def _with_marker(self, facts: AppFacts) -> tuple[str, dict[str, object]]:
        """Name the attempt in the query or in an input variable, where nothing else tells whose its nodes are."""
        app, run = self._app, self._run
        inputs = {**app.inputs, **self._request.inputs}
        query = as_asked(self._request.query)
        if app.find_run != "marker" and facts.names_users:
            return query, inputs
        secret = new_secret()
        self._store.add_marker(MarkerRow(marker_digest(secret), run.id, run.attempt))
        marker = marker_for(secret)
        # An app may answer with the words that it was asked.
        self._live.withhold(f" {marker}", marker)
        if app.marker_input:
            return query, {**inputs, app.marker_input: marker}
        if facts.kind == "completion" and (taker := query_variable(app, facts)):
            return query, {**inputs, taker: f"{inputs.get(taker, '')} {marker}"}
        return f"{query} {marker}", inputs

    # What it says

    def _ignore(self, event: events.Event) -> None:
        """A suspended run's workflow ends: only calls that wait for their text are told, behind it.

        Where the node is tried again or gone on without, it is made to end.
        """
        if isinstance(event, events.NodeRetry | events.NodeStarted):
            self._stop_task(event.task_id)
        elif isinstance(event, events.Message) and self._live.awaits_text:
            self._take(event)
        elif isinstance(event, events.WorkflowFinished | events.ErrorEvent):
            self._has_ended = True

    def _take(self, event: events.Event) -> Outcome | None:
        live = self._live
        live.touched_at = time.monotonic()
        match event:
            case events.WorkflowStarted():
                if not self._note_start(event):
                    return Dropped()
                if event.reason != "resumption":
                    live.begun()
            case events.Message():
                app = self._services.apps.get(self._run.model)
                if not event.answer or app is None or app.output is None:
                    live.text(event.answer, event.node_id)
            case events.ReasoningChunk():
                live.reasoning(event.reasoning)
            case events.MessageReplace():
                live.replace(event.answer)
            case events.MessageEnd() | events.MessageFile():
                self._take_extras(event)
            case events.WorkflowFinished() | events.WorkflowPaused() | events.ErrorEvent():
                return self._ended(event)
            case _:
                self._take_note(event)
        return None

    def _ended(self, event: events.WorkflowFinished | events.WorkflowPaused | events.ErrorEvent) -> Outcome:
        match event:
            case events.WorkflowFinished():
                return self._finished(event)
            case events.WorkflowPaused():
                return self._paused(event)
            case events.ErrorEvent():
                raise failed(event.status, event.code, event.message)

    def _paused(self, event: events.WorkflowPaused) -> Paused:
        if not event.forms or not all(form.token for form in event.forms):
            named = " and ".join(dict.fromkeys(form.form.name for form in event.forms)) or "something"
            raise UnprocessableRun(
                f"the chatflow waits for {named}, which can only be answered in Dify: add the web app to the Human "
                "Input node's delivery methods, and publish the app",
                code="workflow_paused",
            )
        if self._run.auxiliary == PROBE:
            names = " and ".join(dict.fromkeys(form.form.name for form in event.forms))
            raise UnprocessableRun(
                f"the chatflow has come to {names}; nobody is asked during a probe", code="form_reached"
            )
        return Paused(event.forms)

    def _take_extras(self, event: events.MessageEnd | events.MessageFile) -> None:
        if isinstance(event, events.MessageFile):
            self._bring([event.file])
            return
        self._live.total(event.usage)
        self._live.cite(self._citation(resource) for resource in event.resources)
        self._bring(event.files)

    def _note_start(self, event: events.WorkflowStarted) -> bool:
        """Write what Dify calls the workflow. One of an attempt that is over is stopped; return whether it goes on."""
        # A run that fails before its flow begins has no conversation.
        conversation_id = event.conversation_id or self._run.conversation_id
        session = self._session
        moved = session and conversation_id and session.conversation_id != conversation_id
        try:
            # A node may attach at the same time.
            with self._services.locks.of(self._run.id):
                is_last = self._store.begun(
                    self._run,
                    replace(session, conversation_id=conversation_id) if session and moved else None,
                    task_id=event.task_id,
                    workflow_run_id=event.workflow_run_id,
                    conversation_id=conversation_id,
                )
        except BridgeError:
            # Whoever goes on with the run would not know its task.
            self._stop_task(event.task_id)
            raise
        if not is_last:
            self._stop_task(event.task_id)
        return is_last

    def _take_note(self, event: events.Event) -> None:
        """Write how a node goes, for who watches."""
        if not isinstance(event, events.NodeStarted | events.NodeRetry | events.NodeFinished):
            return
        nodes, execution = self._store.nodes, (self._run.id, self._run.attempt, event.execution_id or event.node_id)
        match event:
            case events.NodeStarted():
                nodes.started(*execution, event.title, event.node_type, event.node_id)
            case events.NodeRetry():
                nodes.retried(*execution, event.error)
            case events.NodeFinished():
                nodes.ended(
                    *execution,
                    event.status,
                    event.error,
                    total_tokens=event.total_tokens,
                    price=event.price,
                    currency=event.currency,
                )

    def _finished(self, event: events.WorkflowFinished) -> Outcome:
        if self._live.over:
            return Dropped()
        if event.status == "stopped" and FORM_TIMEOUT in (event.error or "").lower():
            raise Gone(
                "nobody answered the chatflow's form within Dify's time limit (HUMAN_INPUT_GLOBAL_TIMEOUT_SECONDS), so "
                "Dify ended the run",
                code="form_expired",
            )
        failure = None if event.succeeded else run_failed(event.error)
        if event.status == "stopped" and not isinstance(failure, _CUT_OFF):
            raise Gone(
                "the workflow run was stopped in Dify, by someone or by its time limit (APP_MAX_EXECUTION_TIME)",
                code="run_stopped",
            )
        if failure:
            raise failure
        if self._live.stopped:
            return Stopped()
        self._bring(event.files)
        self._tell_outputs(event)
        return Answered()

    def _bring(self, files: Iterable[events.File]) -> None:
        """Let links to the app's files end its answer, unless that is data. Dify signs their addresses behind a `?`."""
        if "response_format" not in self._request.parameters:
            urls = [(file, urljoin(self._app.base_url, file.url)) for file in files]
            self._live.bring({url.partition("?")[0]: _link(file, url) for file, url in urls})

    def _citation(self, resource: events.Resource) -> Citation:
        path = f"/datasets/{resource.dataset_id}/documents/{resource.document_id}"
        return Citation(resource.document, urljoin(self._app.base_url, path))

    def _tell_outputs(self, event: events.WorkflowFinished) -> None:
        """Tell a workflow's answer as far as it was not streamed."""
        live, app = self._live, self._services.apps.get(self._run.model)
        if app is None or self._services.apps.catalogue.of(app).kind != "workflow":
            return
        answer = answer_in(event.outputs, app.output)
        if not live.catch_up(answer) and live.silent and not live.current.number:
            live.text(answer)


def _link(file: events.File, url: str) -> str:
    name = re.sub(r"[\[\]\\\s]+", " ", file.name)
    return f"{'!' if file.is_image else ''}[{name}]({url.replace(' ', '%20').replace(')', '%29')})"
