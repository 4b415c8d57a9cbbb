"""Runs apps: in blocking mode in the caller's thread, in streaming mode in a worker slot of its own.

Sources: services/app_generate_service.py, core/app/apps/advanced_chat/app_generator.py,
tasks/app_generate/workflow_execute_task.py, services/app_task_service.py.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from demo.box.admission import Admission
from demo.box.app_export import App
from demo.box.basic_app import AGENT
from demo.box.basic_pipeline import AgentPipeline, BasicPipeline
from demo.box.config import Imitation, Limits
from demo.box.engine import Execution, Turn
from demo.box.failures import as_told
from demo.box.forms import Forms
from demo.box.inputs import prepare_inputs
from demo.box.listener import Failure, Listener
from demo.box.model import Caller, ModelCatalogue
from demo.box.pipeline import ChatPipeline, WorkflowPipeline
from demo.box.responses import Response, WorkflowResponses, finish_response
from demo.box.sse import Reading, follow
from demo.box.store import Conversation, EndUser, Message, Store, WorkflowRun, new_id, thread
from demo.box.topic import END, PING, Event, Topic

logger = logging.getLogger(__name__)

NO_TERMINAL_EVENT = "Workflow stream ended without a terminal event"


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller asked for. `query` and `conversation_id` mean nothing to a workflow."""

    inputs: Mapping[str, Any]
    query: str = ""
    conversation_id: str | None = None
    auto_generate_name: bool = True


@dataclass(slots=True)
class Task:
    """A run at work, as `stop` finds it."""

    end_user: EndUser
    run: WorkflowRun
    limits: Limits
    id: str = field(default_factory=new_id)
    execution: Execution | None = None
    abort_reason: str | None = None
    killed: bool = False
    """Whether the worker that ran it was killed: its run stays `running` for ever."""
    at_work: threading.Lock = field(default_factory=threading.Lock)
    """Held by the worker that runs it."""
    resuming: threading.Lock = field(default_factory=threading.Lock)
    """Held by the worker that runs it on: of two forms that are answered at once, one goes first."""
    graph: threading.Thread | None = None
    """In which its graph runs, to its end or its next pause."""
    listener: Listener = field(init=False)

    def __post_init__(self) -> None:
        self.listener = Listener(self.limits, self.abort)

    def run_graph(self, work: Callable[..., None], *arguments: object) -> None:
        """Run the graph on in a thread, once what it did last is over."""
        if self.graph is not None:
            self.graph.join()
        self.graph = threading.Thread(target=work, args=arguments, daemon=True)
        self.graph.start()

    def abort(self, reason: str) -> None:
        """End the graph, now or as soon as it is there."""
        self.abort_reason = reason
        if self.execution is not None:
            self.execution.abort(reason)

    def kill(self) -> None:
        """End without a word, as a worker that was killed; a node that is at work goes on unheard."""
        self.killed = True
        self.listener.kill()
        self.abort("killed")


class Runs:
    """Every run of the box."""

    def __init__(
        self, store: Store, models: ModelCatalogue, limits: Limits, imitation: Imitation, forms: Forms
    ) -> None:
        self._store = store
        self._forms = forms
        forms.resume, forms.end = self._resume, self._end_paused
        self._paused: dict[str, _ActiveRun] = {}
        self._models = models
        self._limits = limits
        self._imitation = imitation
        self._admission = Admission(limits.max_active_requests, hold=imitation.hold_request_slot)
        self._slots = threading.BoundedSemaphore(limits.worker_slots) if limits.worker_slots else None
        self._tasks: dict[str, Task] = {}
        self._topics: dict[str, Topic] = {}
        self._working = threading.Event()
        self._working.set()

    def block(self, app: App, user: EndUser, request: Request) -> Response:
        """Run an app to its end and return the answer. Raises what Dify raises."""
        place = self._admission.admit_blocking(app.id)
        try:
            return self._run(app, user, request, self._new_run(app, user)).answer()
        finally:
            self._admission.leave(app.id, place)

    def stream(self, app: App, user: EndUser, request: Request) -> Iterator[Event]:
        """Start a run and return its events. It goes on when nobody reads them any more. Raises TooManyRequests."""
        place = self._admission.admit_stream(app.id)
        run = self._new_run(app, user)
        topic = self._topics[run.id] = Topic()
        return self._read_started(app, user, request, run, topic, place)

    def follow(self, run: WorkflowRun, *, snapshot: bool) -> Iterator[Event]:
        """A run's events from now on, or `workflow_finished` alone when it has ended.

        With `snapshot` what has happened comes first. Differs from Dify: past nodes are told in their original words,
        not in those of the database.
        """
        topic = self._topics.get(run.id)
        if run.finished_at is not None or topic is None:
            yield finish_response(run, run.id)
            return
        with topic.subscription() as events:
            past = list(self._snapshot(run)) if snapshot else []
            yield PING
            yield from past
            ping_seconds = self._limits.ping_seconds if snapshot or run.worker_killed else None
            yield from follow(events, Reading(self._limits.stream_idle_seconds, ping_seconds))

    def stop(self, task_id: str, user: EndUser) -> None:
        """Stop a task. As in Dify, the graph hears it from anybody; the stop flag needs the run's own user."""
        task = self._tasks.get(task_id)
        if task is None:
            return
        if task.end_user.id == user.id:
            task.listener.flag_stop()
        task.abort("User requested stop")

    def kill_worker(self) -> int:
        """Kill the worker, as SIGKILL does, with all runs that it has; another one takes the runs to come."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.run.worker_killed = True
            task.kill()
        return len(tasks)

    def end_worker(self) -> int:
        """Let the worker end, as SIGTERM does: it ends its runs, and says why; another one takes the runs to come."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.abort("Workflow stopped because the worker is shutting down.")
        return len(tasks)

    def take_work(self, works: bool) -> None:
        """Let the worker take runs from now on, or none: those to come wait in silence."""
        (self._working.set if works else self._working.clear)()

    def _read_started(
        self, app: App, user: EndUser, request: Request, run: WorkflowRun, topic: Topic, place: str
    ) -> Iterator[Event]:
        try:
            with topic.subscription() as events:
                work = threading.Thread(target=self._work, args=(app, user, request, run, topic), daemon=True)
                work.start()
                yield PING
                to_the_end = self._imitation.legacy_order or app.is_basic
                yield from follow(events, Reading(self._limits.stream_idle_seconds, to_the_end=to_the_end))
        finally:
            self._admission.leave(app.id, place)

    def _work(self, app: App, user: EndUser, request: Request, run: WorkflowRun, topic: Topic) -> None:
        self._working.wait()
        with self._slots or contextlib.nullcontext():
            try:
                active = self._run(app, user, request, run)
            except Exception as error:
                logger.debug("a run could not begin", exc_info=True)
                _publish_failed(topic, run, run.id, str(error), request.inputs)
                self._close_topic(run, topic)
            else:
                self._tell(active, topic)

    def _tell(self, active: "_ActiveRun", topic: Topic) -> None:
        """Publish what a run says, to its end or its next pause."""
        run = active.task.run
        with active.task.at_work:
            # Whoever hears of a pause may answer it at once.
            self._paused[run.id] = active
            try:
                self._publish(active, run, topic)
            except Exception as error:
                logger.debug("a run could not go on", exc_info=True)
                _publish_failed(topic, run, run.id, str(error), run.inputs)
            finally:
                self._close_topic(run, topic)

    def _publish(self, active: "_ActiveRun", run: WorkflowRun, topic: Topic) -> None:
        terminal = False
        for event in active.events():
            topic.publish(event)
            terminal = terminal or (isinstance(event, dict) and event["event"] in active.pipeline.last_events)
        if not terminal and not active.task.killed:
            _publish_failed(topic, run, active.task.id, NO_TERMINAL_EVENT, run.inputs)

    def _close_topic(self, run: WorkflowRun, topic: Topic) -> None:
        if not run.worker_killed and run.status != "paused":
            self._paused.pop(run.id, None)
            self._topics.pop(run.id, None)
            topic.publish(END)

    def _resume(self, run_id: str) -> None:
        """Let a worker take a paused run."""
        active = self._paused.get(run_id)
        topic = self._topics.get(run_id)
        if active is not None and topic is not None:
            threading.Thread(target=self._work_on, args=(active, topic), daemon=True).start()

    def _work_on(self, active: "_ActiveRun", topic: Topic) -> None:
        task = active.task
        self._working.wait()
        with self._slots or contextlib.nullcontext(), task.resuming:
            with task.at_work:
                # Its last worker has let go of it.
                task.listener = Listener(self._limits, task.abort)
                self._tasks[task.id] = task
            task.run_graph(self._go_through, task, active.conversation, active.app)
            self._tell(active, topic)

    def _end_paused(self, run_id: str, error: str) -> None:
        """End a run whose form nobody answered in all the time that there is. Nobody who listens is told of it."""
        if active := self._paused.pop(run_id, None):
            run = active.task.run
            run.status, run.error, run.finished_at = "stopped", error, time.time()
            self._topics.pop(run_id, None)

    def _run(self, app: App, user: EndUser, request: Request, run: WorkflowRun) -> "_ActiveRun":
        if app.is_chat and not (request.query or app.is_completion):
            raise ValueError("query is required")
        inputs = prepare_inputs(request.inputs, app.variables)
        task = Task(end_user=user, run=run, limits=self._limits)
        run.task_id = task.id
        if app.is_chat:
            conversation = self._conversation(app, user, request, inputs)
            turn = self._chat_turn(app, user, request, run, conversation, inputs)
        else:
            conversation, turn = None, self._workflow_turn(app, user, run, inputs)
        run.inputs = {**inputs, **{f"sys.{name}": value for name, value in turn.system.items() if name != _UNTOLD}}
        self._tasks[task.id] = task
        task.run_graph(self._execute, app, task, turn, conversation)
        pipeline = self._pipeline(app, task, run, conversation)
        pipeline.brings = app.brings
        return _ActiveRun(app, task, pipeline, self._tasks, conversation)

    def _pipeline(
        self, app: App, task: Task, run: WorkflowRun, conversation: Conversation | None
    ) -> ChatPipeline | WorkflowPipeline:
        responses = WorkflowResponses(run, task.id, self._forms)

        def state() -> Any:
            return task.execution.state if task.execution is not None else None

        if conversation is None:
            return WorkflowPipeline(responses, state, task_id=task.id, workflow_run_id=run.id)
        message = next(each for each in self._store.messages(conversation.id) if each.id == run.message_id)
        kind = AgentPipeline if app.mode == AGENT else BasicPipeline if app.is_basic else ChatPipeline
        return kind(responses, state, task_id=task.id, message=message, legacy_order=self._imitation.legacy_order)

    def _execute(self, app: App, task: Task, turn: Turn, conversation: Conversation | None) -> None:
        app_id = None if self._imitation.no_app_id else app.id
        caller = Caller(end_user_id="" if app.is_basic else task.end_user.id, app_id=app_id)
        try:
            decisions = partial(self._forms.decisions, app.id)
            task.execution = Execution(app, turn, self._models, caller, self._limits, decisions)
            if task.abort_reason is not None:
                task.execution.abort(task.abort_reason)
        except Exception as error:
            logger.debug("a graph could not be run", exc_info=True)
            task.listener.publish(Failure(as_told(error)))
        else:
            self._go_through(task, conversation, app)

    def _go_through(self, task: Task, conversation: Conversation | None, app: App) -> None:
        assert task.execution is not None  # noqa: S101 - it was made before
        try:
            for event in task.execution.events():
                task.listener.publish(event)
            if conversation is not None:
                # Differs from Dify: conversation variables are kept when the run ends, not as each one is assigned.
                conversation.variables = task.execution.conversation_variables(app.conversation_defaults)
        except Exception as error:
            logger.debug("a graph could not be run", exc_info=True)
            task.listener.publish(Failure(as_told(error)))

    def _conversation(self, app: App, user: EndUser, request: Request, inputs: dict[str, Any]) -> Conversation:
        if request.conversation_id:
            found = self._store.find_conversation(request.conversation_id, user)
            if found is not None:
                return found
        conversation = Conversation(
            app_id=app.id,
            end_user_id=user.id,
            name=_conversation_name(request),
            inputs=inputs,
            introduction=str(app.features.get("opening_statement") or ""),
        )
        self._store.add_conversation(conversation)
        return conversation

    def _chat_turn(
        self,
        app: App,
        user: EndUser,
        request: Request,
        run: WorkflowRun,
        conversation: Conversation,
        inputs: dict[str, Any],
    ) -> Turn:
        query = request.query.replace("\x00", "")
        message = Message(conversation_id=conversation.id, query=query, inputs=inputs, workflow_run_id=run.id)
        self._store.add_message(message)
        conversation.updated_at = message.created_at
        run.conversation_id, run.message_id = conversation.id, message.id
        system = {
            "query": query,
            "files": [],
            "conversation_id": conversation.id,
            "user_id": user.session_id,
            "dialogue_count": _dialogue_count(self._store.messages(conversation.id)),
            **_run_variables(app, run),
        }
        return Turn(
            system=system,
            inputs=inputs,
            conversation={**app.conversation_defaults, **conversation.variables},
            messages=lambda: self._store.messages(conversation.id),
        )

    def _workflow_turn(self, app: App, user: EndUser, run: WorkflowRun, inputs: dict[str, Any]) -> Turn:
        system = {"files": [], "user_id": user.session_id, **_run_variables(app, run)}
        return Turn(system=system, inputs=inputs, conversation={}, messages=None)

    def _new_run(self, app: App, user: EndUser) -> WorkflowRun:
        run = WorkflowRun(app_id=app.id, app_name=app.name, workflow_id=app.workflow_id, end_user=user)
        self._store.add_run(run)
        return run

    def _snapshot(self, run: WorkflowRun) -> Iterator[Event]:
        frame: Response = {}
        task_id = run.task_id or run.id
        if run.conversation_id is not None:
            frame = {"conversation_id": run.conversation_id, "message_id": run.message_id}
        yield {**_started(run, task_id, run.inputs), **frame}
        message = next((m for m in self._store.messages(run.conversation_id or "") if m.id == run.message_id), None)
        if message is not None:
            yield {"event": "message_replace", "task_id": task_id, "answer": message.answer, "reason": "", **frame}
        yield from ({**response, **frame} for response in list(run.node_responses))


@dataclass(slots=True)
class _ActiveRun:
    """A run whose graph has been started and whose events wait to be read."""

    app: App
    task: Task
    pipeline: ChatPipeline | WorkflowPipeline
    tasks: dict[str, Task]
    conversation: Conversation | None

    def events(self) -> Iterator[Event]:
        """Its events. They must be read to the end, or closed, for the task to be forgotten."""
        try:
            yield from self.pipeline.events(self.task.listener.items())
        finally:
            self.tasks.pop(self.task.id, None)

    def answer(self) -> Response:
        """Its answer in blocking mode. Raises the error that ended it."""
        for _ in self.events():
            pass
        if self.pipeline.error is not None:
            raise self.pipeline.error
        if isinstance(self.pipeline, ChatPipeline):
            return self.pipeline.blocking_response(self.app.mode)
        return self.pipeline.blocking_response()


# Workflow inputs are kept for running again, so they name no conversation.
_UNTOLD = "conversation_id"


def _run_variables(app: App, run: WorkflowRun) -> dict[str, Any]:
    return {"app_id": app.id, "workflow_id": app.workflow_id, "workflow_run_id": run.id}


def _dialogue_count(messages: list[Message]) -> int:
    found = thread(reversed(messages))
    return len(found) if found and not found[0].answer else len(found) + 1


def _conversation_name(request: Request) -> str:
    # Differs from Dify: the name comes at once and from the query alone, as where no default model is set up.
    query = request.query or "New conversation"
    if request.auto_generate_name:
        return f"{query[:47]}..." if len(query) > 50 else query
    return f"{query[:20]}…" if len(query) > 20 else query


def _started(run: WorkflowRun, task_id: str, inputs: Mapping[str, Any]) -> Response:
    data = {
        "id": run.id,
        "workflow_id": run.workflow_id,
        "inputs": inputs,
        "created_at": int(run.created_at),
        "reason": "initial",
    }
    return {"event": "workflow_started", "task_id": task_id, "workflow_run_id": run.id, "data": data}


def _publish_failed(topic: Topic, run: WorkflowRun, task_id: str, error: str, inputs: Mapping[str, Any]) -> None:
    """End a stream whose run never got a terminal event of its own; these events name no conversation."""
    if run.status == "queued":
        topic.publish(_started(run, task_id, inputs))
    run.status, run.error, run.finished_at = "failed", error, run.created_at
    run.exceptions_count = 1
    finished = finish_response(run, task_id)
    finished["data"] |= {"outputs": None, "created_by": {}}
    topic.publish(finished)
