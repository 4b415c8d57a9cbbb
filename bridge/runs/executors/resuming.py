"""Runs the workflow of a suspended executors' run again, in the Dify conversation in which it was asked.

Dify tells a node neither the conversation nor the question, so both are looked up in the app's own history: the user's
conversation whose message failed with this run's name, or shows the calls with which a node of it ended. The workflow
then runs with the same question, inputs, files, user and conversation, and its answer stands there as a message of its
own.

The name is a secret that stands in the message's error. Calls alone may stand in several messages of a user, or of all
who share one: then nothing says which is meant, and nothing is run.

It cannot be done for an app whose key the bridge does not have, for a run that was started in Dify's studio, and for
Dify before 1.13. A conversation of Dify's web app is not in the list that Dify gives; the node has to name it, with
`c:{{#sys.conversation_id#}}` in callback_key.
"""

import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

from bridge.config import App
from bridge.dify.client import Asked, conversations, questions
from bridge.dify.errors import DifyError
from bridge.runs.dify_slots import DifySlots
from bridge.runs.services import Services
from bridge.store.faults import StoreUnavailable
from bridge.store.rows import RunRow, TicketRow
from tools.marker import find_markers, marker_digest
from tools.openclaw_text.stopping import calls_text

log = logging.getLogger("clawback.resuming")

PAUSES = (0.0, 0.3, 0.7, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each look into the history: a message is complete only when its workflow has ended."""

NOT_FOUND = (
    "its results are here, but its question was not found in Dify: the bridge needs the app's key, and for a "
    "conversation of Dify's web app c:{{#sys.conversation_id#}} in the node's callback_key. Ask the same again, and "
    "the run goes on from its results"
)
SEVERAL = (
    "its results are here, but several questions of this user led to the same calls: name the conversation with "
    "c:{{#sys.conversation_id#}} in the node's callback_key. Ask the same again, and the run goes on from its results"
)
NOT_THE_SAME = (
    "its workflow ran again, but its node was not asked the same: a prompt that holds the time, say, cannot go on "
    "from its results"
)
_CONVERSATION = re.compile(r"\bc:([0-9a-fA-F-]{36})\b")


def conversation_of(callback_key: str | None) -> str | None:
    """Return the conversation that a node's callback_key names."""
    found = _CONVERSATION.search(callback_key or "")
    return found[1] if found else None


def user_of(callback_key: str | None) -> str:
    """Return the user that a node's callback_key names, whatever letter stands before it; empty where it names none."""
    rest = _CONVERSATION.sub("", callback_key or "").strip()
    return rest.partition(":")[2] or rest


class Resuming:
    """The suspended executors' runs whose results are there."""

    def __init__(self, services: Services, slots: DifySlots) -> None:
        self._services, self._store = services, services.store
        self._slots = slots
        self._lock = threading.Lock()
        self._under_way: dict[str, str] = {}

    def resumes(self, session_key: str) -> bool:
        """Say whether a workflow of this user of this app is being run again."""
        return session_key in self._under_way

    def settled(self, run: RunRow) -> bool:
        """Say whether a suspended executors' run has what it waited for, and nothing has been tried in vain."""
        if run.direction != "executor" or run.state != "suspended" or run.error:
            return False
        tickets = self._store.tickets_of_run(run.id)
        return bool(tickets) and tickets[-1].state == "resolved" and all(t.state != "open" for t in tickets)

    def soon(self, run_id: str) -> None:
        """Run the workflow again in the background, if the results are there."""
        run = self._store.run(run_id)
        if run is None or not self.settled(run):
            return
        with self._lock:
            if run.session_key in self._under_way:
                return
            self._under_way[run.session_key] = run.id
        threading.Thread(target=self._resume, args=(run,), daemon=True, name="clawback-resume").start()

    def _resume(self, run: RunRow) -> None:
        try:
            problem = self._go_on(run)
        except StoreUnavailable:
            # The run is as it was: the sweeper tries again.
            problem = None
        except DifyError as error:
            problem = f"its results are here, but Dify did not run its workflow again: {error}"
        except Exception:
            log.exception("a suspended run could not be resumed", extra={"run": run.id})
            problem = "its results are here, but the bridge failed to go on; its log says more"
        finally:
            with self._lock:
                del self._under_way[run.session_key]
        with suppress(StoreUnavailable):
            if problem and self._waits(run):
                self._store.update_run(run.id, error=problem)
                log.warning("a suspended run stays so", extra={"run": run.id, "reason": problem})

    def _waits(self, run: RunRow) -> bool:
        now = self._store.run(run.id)
        return now is not None and now.state == "suspended"

    def _went_on(self, run: RunRow) -> bool:
        now = self._store.run(run.id)
        return now is not None and now.attempt > run.attempt

    def _go_on(self, run: RunRow) -> str | None:
        """Return why it was in vain, or None."""
        if self._services.requests.of(run).resumed:
            return NOT_THE_SAME
        for pause in PAUSES:
            time.sleep(pause)
            if not self._waits(run):
                return None
            found = list(self._find(run))
            named = [each for each in found if self._is_named(run, each[2])]
            if len(found) > 1 and not named:
                return SEVERAL
            for app, user, asked in named or found:
                log.info("a suspended run is resumed", extra={"run": run.id, "model": app.model})
                self._ask(run, app, user, asked)
                return None if self._went_on(run) else NOT_THE_SAME
        return NOT_FOUND

    def _ask(self, run: RunRow, app: App, user: str, asked: Asked) -> None:
        chat = self._services.apps.client(app.model).chat(
            query=asked.query,
            user=user,
            inputs=asked.inputs,
            conversation_id=asked.conversation_id,
            files=asked.files,
        )
        with self._slots.place(app, run.id), chat as events:
            for _ in events:
                pass

    def _find(self, run: RunRow) -> Iterator[tuple[App, str, Asked]]:
        """Yield the question that led to the run, where it can be found: the app, the user, and what was asked."""
        request = self._services.requests.of(run)
        for app in self._services.config.apps if request.end_user else ():
            client = self._services.apps.client(app.model)
            user = client.end_user(request.end_user or "")
            if user is None:
                continue
            tickets = self._store.tickets_of_run(run.id)
            known = [request.conversation] if request.conversation else conversations(client, user)
            for conversation_id in known:
                for asked in questions(client, user, conversation_id):
                    if self._is_named(run, asked) or _shows_calls(tickets[-1], asked):
                        yield app, user, asked

    def _is_named(self, run: RunRow, asked: Asked) -> bool:
        secrets = find_markers([asked.error])
        if any(marker.run_id == run.id for marker in self._store.markers(list(map(marker_digest, secrets)))):
            return True
        # A version before 0.2 suspended it, and named it by its id.
        return run.id in asked.error and not self._store.has_marker(run.id)


def _shows_calls(ticket: TicketRow, asked: Asked) -> bool:
    return calls_text(call.asked_call() for call in ticket.calls) in asked.answer
