"""Chats with an app for somebody at the page, as Dify's own users have them: executors run the calls.

So is a run done again: what was asked is asked once more, in a conversation of its own. Its calls are new ones, and go
through the policy as if nobody had ever decided about them.

What was said is in this process's memory alone; the runs of it are stored, as all are. Dify knows each chat by a user
of its own, whose name says what it is.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

from bridge.config import App
from bridge.dify import events
from bridge.dify.errors import DifyError, failed, run_failed
from bridge.dify.events import answer_in
from bridge.errors import BridgeError, Conflict, InvalidRequest, NotFound
from bridge.runs.dify_slots import DifySlots
from bridge.runs.inputs import files_of, query_variable
from bridge.runs.requests import RunRequest
from bridge.runs.services import Services, in_background
from bridge.store.rows import RunRow
from tools.ids import random_name

log = logging.getLogger("clawback.trials")

MOST_TRIALS = 50
LONGEST_CHARACTERS = 100_000
PAUSED = "the workflow waits for a form: answer it, and see in Dify what comes of it"

Kind = Literal["try", "rerun"]
_PREFIXES: Mapping[Kind, str] = {"try": "clawback-try-", "rerun": "clawback-again-"}


def kind_of(user: str | None) -> Kind | None:
    """Return what Dify's user of this name is here for, if it is one of these."""
    return next((kind for kind, prefix in _PREFIXES.items() if (user or "").startswith(prefix)), None)


def original_of(user: str | None) -> str | None:
    """Return the run that Dify's user of this name does again."""
    return user.removeprefix(_PREFIXES["rerun"]).partition("-")[0] if user and kind_of(user) == "rerun" else None


@dataclass
class Turn:
    """What was asked, and what came of it so far. `error` says why there is no more."""

    query: str
    answer: str = ""
    is_over: bool = False
    error: str | None = None


@dataclass
class Trial:
    """One chat. `runs` are those that its nodes began, `again` is the run that it does once more."""

    id: str
    model: str
    user: str
    again: str | None = None
    conversation_id: str = ""
    turns: list[Turn] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether nothing is under way."""
        return all(turn.is_over for turn in self.turns)


class Trials:
    """The chats of this process."""

    def __init__(self, services: Services, slots: DifySlots) -> None:
        self._services = services
        self._slots = slots
        self._trials: OrderedDict[str, Trial] = OrderedDict()

    def get(self, trial_id: str) -> Trial:
        """Return a chat. Raises NotFound."""
        trial = self._trials.get(trial_id)
        if trial is None:
            raise NotFound("there is no such chat here: each bridge keeps its own last ones until it is started again")
        return trial

    def begin(self, model: str, text: str) -> Trial:
        """Begin a chat with an app. Raises NotFound and InvalidRequest."""
        return self._begin(self._app(model), RunRequest(messages=[], turn=None, query=_checked(text)), "try", None)

    def go_on(self, trial_id: str, text: str) -> Trial:
        """Say something more. Raises NotFound, InvalidRequest, and Conflict while an answer is awaited."""
        trial = self.get(trial_id)
        if not trial.is_over:
            raise Conflict("the answer is not complete yet: wait for it", code="trial_busy")
        self._say(self._app(trial.model), trial, RunRequest(messages=[], turn=None, query=_checked(text)))
        return trial

    def run_again(self, run: RunRow) -> Trial:
        """Ask once more what a client's run was asked. Raises NotFound and InvalidRequest."""
        request = self._services.requests.of(run)
        if run.direction != "endpoint" or not request.query:
            raise InvalidRequest(
                "only a run that a client began with words can be run again: Dify keeps what others were asked",
                code="not_repeatable",
            )
        return self._begin(self._app(run.model), request, "rerun", run.id)

    def note(self, user: str | None, run_id: str) -> None:
        """A node of one of Dify's users began this run."""
        for trial in self._trials.values():
            if trial.user == user and run_id not in trial.runs:
                trial.runs.append(run_id)

    def _app(self, model: str) -> App:
        app = self._services.apps.get(model)
        if app is None:
            raise NotFound(f"there is no app {model!r} in the configuration", code="model_not_found")
        return app

    def _begin(self, app: App, request: RunRequest, kind: Kind, again: str | None) -> Trial:
        trial_id = random_name()
        user = f"{_PREFIXES[kind]}{f'{again}-' if again else ''}{trial_id}"
        trial = self._trials[trial_id] = Trial(trial_id, app.model, user, again)
        while len(self._trials) > MOST_TRIALS:
            self._trials.popitem(last=False)
        self._say(app, trial, request)
        return trial

    def _say(self, app: App, trial: Trial, request: RunRequest) -> None:
        turn = Turn(request.query)
        trial.turns.append(turn)
        in_background(self._listen, app, trial, turn, request)

    def _listen(self, app: App, trial: Trial, turn: Turn, request: RunRequest) -> None:
        until = time.monotonic() + self._services.config.limits.run_seconds
        try:
            with self._slots.place(app, trial.id), self._asked(app, trial, request) as stream:
                for event in stream:
                    trial.conversation_id = event.conversation_id or trial.conversation_id
                    _take(turn, event)
                    if time.monotonic() > until:
                        turn.error = "it took longer than limits.run_seconds"
                        self._services.apps.stop(app.model, event.task_id, trial.user)
                        break
        except (DifyError, BridgeError) as error:
            turn.error = str(error)
        except Exception:
            log.exception("a chat failed", extra={"model": app.model})
            turn.error = "the bridge failed; its log says more"
        finally:
            turn.is_over = True

    def _asked(self, app: App, trial: Trial, request: RunRequest) -> AbstractContextManager[Iterator[events.Event]]:
        client, facts = self._services.apps.client(app.model), self._services.apps.catalogue.of(app)
        inputs: dict[str, Any] = {**app.inputs, **request.inputs}
        files = files_of(client, facts, request, trial.user)
        if facts.kind in {"workflow", "completion"}:
            if taker := query_variable(app, facts):
                inputs.setdefault(taker, request.query)
            ask = client.run_workflow if facts.kind == "workflow" else client.complete
            return ask(inputs=inputs, user=trial.user, files=files)
        conversation_id = trial.conversation_id
        return client.chat(
            query=request.query, inputs=inputs, user=trial.user, conversation_id=conversation_id, files=files
        )


def _checked(text: str) -> str:
    text = text.strip()
    if not text or len(text) > LONGEST_CHARACTERS:
        raise InvalidRequest(f"say something, in at most {LONGEST_CHARACTERS:,} characters", param="text")
    return text


def _take(turn: Turn, event: events.Event) -> None:
    match event:
        case events.MessageReplace():
            turn.answer = event.answer
        case events.Message():
            turn.answer += event.answer
        case events.WorkflowPaused():
            turn.error = PAUSED
        case events.ErrorEvent():
            turn.error = str(failed(event.status, event.code, event.message))
        case events.WorkflowFinished() if event.succeeded:
            turn.answer = turn.answer or answer_in(event.outputs)
        case events.WorkflowFinished():
            turn.error = str(run_failed(event.error))
        case _:
            pass
