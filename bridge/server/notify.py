"""Tells people elsewhere that a call or a form waits, or that a run failed: Slack and its like, ntfy, or a command.

An observer puts what happened into a queue and goes on; one thread sends it. Nobody waits for that, and what cannot be
sent is logged and dropped: the page and the store have it.
"""

import json
import logging
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx

from bridge.config import Config, Notify
from bridge.dify.forms import Form
from bridge.runs.observing.observers import Observer
from bridge.server.figures import app
from bridge.store.rows import FormRow, Move, RunRow, TicketRow
from tools.ticket_states import CallEvent

log = logging.getLogger("clawback.notify")

SECONDS = 10.0
"""How long a message may take."""
MOST_WAITING = 200
MOST_LINES = 10
LONGEST_CONTENT = 500
TOGETHER_SECONDS = 0.3
"""What happens so soon after another goes into the same message."""

# A command needs none of what else stands in the bridge's environment: keys of apps may be among it.
_ENVIRONMENT = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "DISPLAY", "DBUS_SESSION_BUS_ADDRESS")


@dataclass(frozen=True, slots=True)
class Notice:
    """What happened. `content` is empty unless `log_content` is on."""

    event: str
    text: str
    run_id: str
    call_id: str = ""
    tool: str = ""
    code: str = ""
    content: str = ""
    url: str = ""
    form_id: str = ""

    @property
    def line(self) -> str:
        """All of it on one line."""
        return " ".join(filter(None, [self.text, " ".join(self.content.split()), self.url]))


class Notifier(Observer):
    """Sends what the configuration asks for, as it is at that moment."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._waiting: queue.Queue[Notice] = queue.Queue(MOST_WAITING)
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None

    def calls_moved(self, ticket: TicketRow, moves: Sequence[Move]) -> None:
        """Tell of calls that wait for a person from now on."""
        names = {call.id: call for call in ticket.calls}
        for move in moves:
            if move.event == CallEvent.ASK and self._config.notify:
                call = names[move.call_id]
                url = self._url(f"/approvals#call-{call.id}")
                text = f"{call.name} waits for your decision."
                self._put(
                    Notice("approval", text, ticket.run_id, call.id, call.name, "", self._content(call.arguments), url)
                )

    def form_opened(self, run: RunRow, form: FormRow, title: str) -> None:
        """Tell of a form that waits for a person from now on."""
        if self._config.notify:
            text = f"The form {title!r} of {app(run.direction, run.model)} waits for your answer."
            url = self._url(f"/approvals#form-{form.id}")
            content = self._content(Form.model_validate_json(form.definition).content)
            self._put(Notice("form", text, run.id, form_id=form.id, content=content, url=url))

    def run_failed(self, run: RunRow, code: str) -> None:
        """Tell of a run that failed."""
        if self._config.notify:
            text = f"A run of {app(run.direction, run.model)} failed ({code})."
            url = self._url(f"/runs/{run.id}")
            self._put(Notice("failed", text, run.id, code=code, content=self._content(run.error or ""), url=url))

    def _content(self, text: str) -> str:
        return text[:LONGEST_CONTENT] if self._config.log_content else ""

    def _url(self, path: str) -> str:
        base = self._config.page.url
        return f"{base.rstrip('/')}{path}" if base else ""

    def _put(self, notice: Notice) -> None:
        try:
            self._waiting.put_nowait(notice)
        except queue.Full:
            log.warning("too many notices wait, and one was dropped", extra={"run": notice.run_id})
        with self._guard:
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_all, daemon=True, name="clawback-notify")
                self._thread.start()

    def _send_all(self) -> None:
        later = threading.Event()
        while True:
            notices = [self._waiting.get()]
            later.wait(TOGETHER_SECONDS)
            with suppress(queue.Empty):
                while True:
                    notices.append(self._waiting.get_nowait())
            for target in list(self._config.notify):
                if wanted := [notice for notice in notices if notice.event in target.on]:
                    self._send(target, wanted)

    def _send(self, target: Notify, notices: Sequence[Notice]) -> None:
        try:
            send(target, notices)
        except (httpx.HTTPError, OSError, subprocess.SubprocessError, ValueError) as error:
            # The address is a secret of its own: whoever knows it can write there.
            log.warning("a notice could not be sent", extra={"kind": target.kind, "error": type(error).__name__})


def send(target: Notify, notices: Sequence[Notice]) -> None:
    """Send these notices, or raise what is in the way."""
    lines = [notice.line for notice in notices[:MOST_LINES]]
    if len(notices) > MOST_LINES:
        lines.append(f"... and {len(notices) - MOST_LINES} more")
    text = "\n".join(lines)
    match target.kind:
        case "command":
            for notice in notices:
                _run(target.command, notice)
        case "ntfy":
            clicked = {"Click": notices[0].url} if notices[0].url else {}
            _post(target, content=text.encode(errors="replace"), headers=clicked)
        case "webhook":
            # Slack, Mattermost, Discord's /slack and others read `text`, in which only these have a meaning.
            safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            _post(target, json={"text": safe}, headers={})


def _post(target: Notify, headers: dict[str, str], **body: Any) -> None:
    token = target.token.get_secret_value()
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    httpx.post(target.url, headers=headers, timeout=SECONDS, **body).raise_for_status()


def _run(command: Sequence[str], notice: Notice) -> None:
    known = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    given = {name: getattr(notice, name) for name in Notice.__slots__ if getattr(notice, name)}
    process = subprocess.Popen(  # noqa: S603 - the configuration names it, and no shell reads it
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=known,
        start_new_session=True,
    )
    with process:
        try:
            process.communicate(json.dumps(given).encode(), timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command[0])
