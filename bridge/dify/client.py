"""The requests to Dify's service API. One client serves one app: its key names the app.

Everything blocks, and under gevent's monkey patching blocks one greenlet only.
"""

import json
import os
import socket
import ssl
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from threading import Lock, Timer
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from bridge.config import is_loopback
from bridge.dify import errors, events
from bridge.dify.errors import ConversationGone
from bridge.dify.events import Event
from tools.sse import Decoder

# Dify's api takes ten connections at a time (SERVER_WORKER_CONNECTIONS), and an idle one counts: kept-alive ones would
# lock everyone out, Dify's own console too.
_CONNECTIONS = httpx.Limits(max_connections=None, max_keepalive_connections=0)
_MAX_ERROR_BYTES = 64 * 1024
_FIRST = events.Message | events.AgentThought
_LAST = events.WorkflowFinished | events.WorkflowPaused | events.ErrorEvent


@dataclass(frozen=True, slots=True)
class Timeouts:
    """In seconds.

    `idle` is the longest silence within a run's stream; Dify pings every 10 s. `answer` is the same for all other
    requests. `grace` is how long a stream may stay open after its run has ended: Dify 1.4.2 sends `message_end` after
    `workflow_finished`.
    """

    connect: float = 10.0
    idle: float = 60.0
    answer: float = 30.0
    grace: float = 1.0


@dataclass(frozen=True, slots=True)
class AppInfo:
    """What Dify says about the app. `mode` is `advanced-chat` for a chatflow, empty on old versions."""

    name: str
    description: str
    mode: str


@dataclass(frozen=True, slots=True)
class InputField:
    """A variable of the Start node that a caller may set. `kind` is Dify's word: text-input, paragraph, select, ..."""

    name: str
    kind: str
    required: bool


@dataclass(frozen=True, slots=True)
class AppParameters:
    """The app's Start node variables, and all that Dify says about the app's form."""

    inputs: tuple[InputField, ...]
    raw: dict[str, Any] = field(repr=False)


class DifyClient:
    """The service API of one app. `base_url` is what Dify shows under API Access, `http://host/v1`.

    Every method raises `bridge.dify.errors.DifyError` where it does not say otherwise.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        timeouts: Timeouts | None = None,
        limits: httpx.Limits = _CONNECTIONS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._api_key = _checked_key(api_key)
        self._timeouts = timeouts or Timeouts()
        host = urlsplit(base_url).hostname or ""
        self._http = httpx.Client(
            headers={"Authorization": f"Bearer {self._api_key}", "User-Agent": "clawback-bridge"},
            timeout=self._patience(self._timeouts.answer),
            limits=limits,
            transport=transport,
            verify=_authorities(),
            # A proxy from the environment must not come between the bridge and a Dify on the same machine.
            trust_env=not is_loopback(host),
        )

    def __repr__(self) -> str:
        return f"DifyClient({self.base_url!r})"

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def chat(
        self,
        *,
        query: str,
        user: str,
        inputs: Mapping[str, Any] | None = None,
        conversation_id: str | None = None,
        files: Sequence[Mapping[str, Any]] = (),
        trace_id: str | None = None,
    ) -> AbstractContextManager[Iterator[Event]]:
        """Run the chatflow: `with client.chat(query=..., user=...) as events: for event in events: ...`.

        The events end with exactly one of WorkflowFinished, ErrorEvent and WorkflowPaused, after which only a
        MessageEnd may come; a stream that ends before it raises StreamBroke. Where Dify answers without a workflow
        (an annotation reply, input moderation, a chat or agent app), a WorkflowStarted and a WorkflowFinished without
        `workflow_run_id` are added.
        Leaving the context closes the connection, and does not stop the run: that is what `stop` is for. `files` are
        as Dify takes them. `trace_id` (`[A-Za-z0-9_-]{1,128}`) names the run in Dify's tracing.
        """
        body: dict[str, Any] = {
            "query": query,
            "inputs": dict(inputs or {}),
            "user": user,
            "response_mode": "streaming",
            "conversation_id": conversation_id or "",
            # A title costs a call of the workspace's default model, which may be our own.
            "auto_generate_name": False,
        }
        return self._run("chat-messages", body, files, trace_id)

    def run_workflow(
        self,
        *,
        inputs: Mapping[str, Any],
        user: str,
        files: Sequence[Mapping[str, Any]] = (),
        trace_id: str | None = None,
    ) -> AbstractContextManager[Iterator[Event]]:
        """Run the workflow, as `chat` runs a chatflow. Its answer is among the outputs of WorkflowFinished."""
        body: dict[str, Any] = {"inputs": dict(inputs), "user": user, "response_mode": "streaming"}
        return self._run("workflows/run", body, files, trace_id, has_workflow=True)

    def complete(
        self,
        *,
        inputs: Mapping[str, Any],
        user: str,
        files: Sequence[Mapping[str, Any]] = (),
        trace_id: str | None = None,
    ) -> AbstractContextManager[Iterator[Event]]:
        """Run a text generation app, as `chat` runs a chatflow. It has variables alone, and no conversation."""
        body: dict[str, Any] = {"inputs": dict(inputs), "user": user, "response_mode": "streaming"}
        return self._run("completion-messages", body, files, trace_id)

    @contextmanager
    def _run(
        self,
        path: str,
        body: dict[str, Any],
        files: Sequence[Mapping[str, Any]],
        trace_id: str | None,
        *,
        has_workflow: bool = False,
    ) -> Iterator[Iterator[Event]]:
        if files:
            body["files"] = [dict(file) for file in files]
        request = self._run_request(path, body, trace_id)
        with self._opened(request) as response, closing(self._events(response, has_workflow=has_workflow)) as run:
            yield run

    def _run_request(self, path: str, body: Mapping[str, Any], trace_id: str | None) -> httpx.Request:
        headers = {"Content-Type": "application/json"} | ({"X-Trace-Id": trace_id} if trace_id else {})
        # A client may send half of a surrogate pair, which UTF-8 cannot carry.
        content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        return self._stream_request("POST", path, content=content, headers=headers)

    def upload(self, name: str, content: bytes, kind: str, user: str) -> str:
        """Give `user` a file of the media type `kind`, and return the id by which a run takes it."""
        file = {"file": (name, content, kind)}
        answer = self._call("POST", "files/upload", data={"user": user}, files=file)
        return str(answer.get("id") or "")

    @contextmanager
    def run_events(self, workflow_run_id: str, user: str) -> Iterator[Iterator[Event] | None]:
        """Attach to a run again after its connection was lost; None where this Dify, app or user has no such run.

        Exists in Dify >= 1.13. It goes on with what happens from now; for a run that has ended it is one
        WorkflowFinished, whose `outputs` hold the answer. Answer text that was sent while nobody listened does not
        come again. When Dify notices that the lost connection is gone, it tells everyone who listens to the run that
        the channel is closed (`__closed__`, `libs/broadcast_channel/redis` of 1.16): this stream breaks, and the run
        has to be attached to once more. With `include_state_snapshot` it would stay open in silence instead, for 300 s.
        """
        params = {"user": user}
        request = self._stream_request("GET", f"workflow/{_segment(workflow_run_id)}/events", params=params)
        with ExitStack() as open_things:
            run: Generator[Event] | None = None
            with suppress(_NoSuchThing):
                response = open_things.enter_context(self._opened(request))
                run = open_things.enter_context(closing(self._events(response, has_workflow=True)))
            yield run

    def stop(self, task_id: str, user: str, *, path: str = "chat-messages") -> None:
        """Stop the run that `user` started. Dify accepts it for runs that have ended or never were, too."""
        self._call("POST", f"{path}/{_segment(task_id)}/stop", json={"user": user})

    def is_running(self, workflow_run_id: str) -> bool:
        """Say whether nodes of a workflow run may yet begin. Nothing is known of one that Dify does not know."""
        answer = self._found("GET", f"workflows/run/{_segment(workflow_run_id)}")
        return answer is not None and answer.get("status") == "running"

    def check_form(self, token: str) -> None:
        """Raise FormSubmitted or FormGone where nobody has to answer this form any more."""
        if self._found("GET", f"form/human_input/{_segment(token)}") is None:
            raise errors.FormGone("Dify does not know the form any more")

    def submit_form(self, token: str, action: str, inputs: Mapping[str, str], user: str) -> None:
        """Answer a form; its run goes on, and tells so where `run_events` listens.

        Raises FormSubmitted where it was answered before: also where that was this request, whose answer was lost.
        Raises FormGone where its time is up, and InvalidInput where the answer does not fit.
        """
        body = {"inputs": dict(inputs), "action": action, "user": user}
        if self._found("POST", f"form/human_input/{_segment(token)}", json=body) is None:
            raise errors.FormGone("Dify does not know the form any more")

    def end_user(self, end_user_id: str) -> str | None:
        """Return the `user` string behind the UUID that Dify gives its plugins.

        None where the app has no such end user, and where Dify is older than 1.13 and cannot tell.
        """
        answer = self._found("GET", f"end-users/{_segment(end_user_id)}")
        session_id = answer.get("session_id") if answer else None
        return session_id if isinstance(session_id, str) and session_id else None

    def info(self) -> AppInfo:
        """Ask what the app is. The cheapest way to see whether address and key are right."""
        answer = self._call("GET", "info")
        name, description, mode = (str(answer.get(key) or "") for key in ("name", "description", "mode"))
        return AppInfo(name=name, description=description, mode=mode)

    def parameters(self) -> AppParameters:
        """Ask which variables the app's Start node declares; Dify drops all other `inputs` without a word."""
        answer = self._call("GET", "parameters")
        return AppParameters(inputs=tuple(_input_fields(answer.get("user_input_form"))), raw=answer)

    def delete_conversation(self, conversation_id: str, user: str) -> bool:
        """Delete a conversation of `user`; say whether there was one."""
        return self._found("DELETE", f"conversations/{_segment(conversation_id)}", json={"user": user}) is not None

    def get(self, path: str, params: Mapping[str, str]) -> dict[str, Any]:
        """Ask for what the app has of this kind."""
        return self._call("GET", path, params=dict(params))

    def _found(self, method: str, path: str, **request: Any) -> dict[str, Any] | None:
        try:
            return self._call(method, path, **request)
        except (_NoSuchThing, errors.ConversationGone):
            return None

    def _call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        with self._opened(self._http.build_request(method, f"{self.base_url}/{path}", **request)) as response:
            with self._translated():
                response.read()
            if response.status_code == httpx.codes.NO_CONTENT or not response.content:
                return {}
            try:
                answer = response.json()
            except ValueError:
                raise errors.NotDify(f"{path} was answered with {_content_type(response)}") from None
            if not isinstance(answer, dict):
                raise errors.NotDify(f"{path} was answered with JSON that is not an object")
            return answer

    def _stream_request(self, method: str, path: str, **request: Any) -> httpx.Request:
        patience = self._patience(self._timeouts.idle)
        return self._http.build_request(method, f"{self.base_url}/{path}", timeout=patience, **request)

    def _patience(self, read: float) -> httpx.Timeout:
        return httpx.Timeout(read, connect=self._timeouts.connect)

    @contextmanager
    def _opened(self, request: httpx.Request) -> Iterator[httpx.Response]:
        with self._translated():
            response = self._http.send(request, stream=True)
        try:
            if response.status_code >= 300:
                raise self._refusal(response)
            yield response
        finally:
            response.close()

    def _refusal(self, response: httpx.Response) -> errors.DifyError:
        with self._translated():
            body = self._without_key(_beginning(response))
        error = errors.refused(response.status_code, response.headers, body)
        if response.status_code == httpx.codes.NOT_FOUND and isinstance(error, errors.NotDify):
            return _NoSuchThing(error.message, status=error.status)
        return error

    def _without_key(self, text: bytes) -> bytes:
        return text.replace(self._api_key.encode(), b"***") if self._api_key else text

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn httpx's errors outside a run's stream into ours."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            raise errors.Unreachable(f"No connection to Dify at {self.base_url}: {error}") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise errors.NotDify(f"{self.base_url} is not an address: {error}") from error
        except httpx.TimeoutException as error:
            raise errors.NoAnswer(f"Dify at {self.base_url} did not answer in time") from error
        except httpx.HTTPError as error:
            raise errors.NoAnswer(f"Dify at {self.base_url} closed the connection: {error}") from error

    def _events(self, response: httpx.Response, *, has_workflow: bool) -> Generator[Event]:
        if not _content_type(response).startswith("text/event-stream"):
            raise errors.NotDify(f"The run was answered with {_content_type(response)} instead of an event stream")
        ended = begun = heard = False
        grace = _Grace(response, self._timeouts.grace)
        try:
            pieces = events.Pieces()
            for event in map(pieces.put_together, _decoded(response)):
                heard = heard or not isinstance(event, events.Ping)
                has_workflow = has_workflow or isinstance(event, events.WorkflowStarted)
                answered = isinstance(event, events.MessageEnd)
                if isinstance(event, _FIRST) and not (has_workflow or begun):
                    # Where no workflow runs, the first that is heard says under which ids.
                    begun = True
                    yield _begun_without_workflow(event)
                if ended and not answered:
                    # Dify 1.13 and later tell of a workflow that failed where none ever began; 1.4.2 tells twice.
                    continue
                yield event
                if answered and not has_workflow:
                    yield _finished_without_workflow(event)
                if isinstance(event, _LAST) or (answered and not has_workflow):
                    ended = True
                    grace.begin()
        except (httpx.HTTPError, events.Unreadable) as error:
            if not ended:
                silent = isinstance(error, httpx.TimeoutException) and not heard
                kind = errors.NotBegun if silent else errors.StreamBroke
                raise kind(_how_it_broke(error, self._timeouts.idle)) from error
        finally:
            grace.end()
        if not ended:
            raise errors.StreamBroke("The run's events ended before the run did")


class _NoSuchThing(errors.NotDify):
    """A 404: an address that this Dify does not have, or a thing that it does not know."""


class _Grace:
    """Cuts a response's connection after `seconds`, so that a reader who waits for more learns that there is none."""

    def __init__(self, response: httpx.Response, seconds: float) -> None:
        self._response = response
        self._seconds = seconds
        self._cutting = Lock()
        self._over = False
        self._timer: Timer | None = None

    def begin(self) -> None:
        """Start the clock."""
        if self._timer is None:
            self._timer = Timer(self._seconds, self._cut)
            self._timer.daemon = True
            self._timer.start()

    def end(self) -> None:
        """Stop the clock. From here on nothing is cut: the connection may belong to another request."""
        if self._timer is not None:
            self._timer.cancel()
        with self._cutting:
            self._over = True

    def _cut(self) -> None:
        with self._cutting:
            stream = self._response.extensions.get("network_stream")
            if self._over or self._response.is_closed or stream is None:
                return
            # Closing a socket does not wake its reader, and shutting a TLS socket down would break it under the
            # reader's hands: a duplicate of the descriptor does neither.
            descriptor = stream.get_extra_info("socket").fileno()
            with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as twin:
                twin.shutdown(socket.SHUT_RDWR)


def _decoded(response: httpx.Response) -> Iterator[Event]:
    decoder = Decoder()
    for piece in response.iter_bytes():
        for sent in decoder.feed(piece):
            event = events.read(sent)
            if event is not None:
                yield event
    for sent in decoder.close():
        with suppress(events.Unreadable):
            event = events.read(sent)
            if event is not None:
                yield event


def _begun_without_workflow(event: events.Event) -> events.WorkflowStarted:
    return events.WorkflowStarted(
        task_id=event.task_id,
        conversation_id=event.conversation_id,
        message_id=event.message_id,
        workflow_run_id="",
    )


def _finished_without_workflow(end: events.Event) -> events.WorkflowFinished:
    usage = end.usage if isinstance(end, events.MessageEnd) else None
    return events.WorkflowFinished(
        task_id=end.task_id,
        conversation_id=end.conversation_id,
        message_id=end.message_id,
        workflow_run_id="",
        status="succeeded",
        error=None,
        outputs={},
        total_tokens=usage.total_tokens if usage else 0,
    )


def _how_it_broke(error: Exception, idle: float) -> str:
    if isinstance(error, httpx.TimeoutException):
        return f"The run's events fell silent for {idle:g} s, although Dify pings every 10 s"
    if isinstance(error, events.Unreadable):
        return f"The run's events cannot be read: {error}"
    return f"The connection that carried the run's events broke: {error}"


def _beginning(response: httpx.Response) -> bytes:
    body = bytearray()
    for piece in response.iter_bytes():
        body += piece
        if len(body) >= _MAX_ERROR_BYTES:
            break
    return bytes(body)


def _content_type(response: httpx.Response) -> str:
    content_type: str = response.headers.get("content-type", "")
    return content_type or "no content type"


def _segment(value: str) -> str:
    return quote(value, safe="")


def _input_fields(form: object) -> Iterator[InputField]:
    for entry in form if isinstance(form, list) else []:
        for kind, described in entry.items() if isinstance(entry, dict) else []:
            name = described.get("variable") if isinstance(described, dict) else None
            if isinstance(name, str) and name:
                yield InputField(name=name, kind=str(kind), required=described.get("required") is True)


@cache
def _authorities() -> ssl.SSLContext:
    """The authorities that all clients trust: to read them takes long, and each list takes nearly a megabyte."""
    return httpx.create_ssl_context()


def _checked_key(api_key: str) -> str:
    """Refuse what HTTP cannot carry here, since an error further down would show it."""
    key = api_key.strip()
    if not key or not all("!" <= character <= "~" for character in key):
        raise errors.BadKey("The app's key is empty, or has characters that no key has")
    return key


MOST_CONVERSATIONS = 20
MOST_MESSAGES = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that a user asked an app, and what came of it. `files` are as Dify takes them with a question."""

    conversation_id: str
    query: str
    inputs: dict[str, Any]
    answer: str
    error: str
    files: list[dict[str, Any]] = field(default_factory=list)


def conversations(client: DifyClient, user: str) -> list[str]:
    """List the ids of a user's latest conversations, the newest first."""
    answer = client.get("conversations", {"user": user, "limit": str(MOST_CONVERSATIONS), "sort_by": "-updated_at"})
    return [str(entry["id"]) for entry in _entries(answer) if entry.get("id")]


def questions(client: DifyClient, user: str, conversation_id: str) -> list[Asked]:
    """List the latest questions of a conversation, the newest first; none where the user has no such conversation."""
    params = {"user": user, "conversation_id": conversation_id, "limit": str(MOST_MESSAGES)}
    try:
        answer = client.get("messages", params)
    except ConversationGone:
        return []
    return [_asked(entry) for entry in reversed(list(_entries(answer)))]


def _entries(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    data = answer.get("data")
    return (entry for entry in data if isinstance(entry, dict)) if isinstance(data, list) else iter(())


def _asked(entry: dict[str, Any]) -> Asked:
    inputs, files = entry.get("inputs"), entry.get("message_files")
    given = (_file(file) for file in files if isinstance(file, dict)) if isinstance(files, list) else ()
    return Asked(
        conversation_id=str(entry.get("conversation_id") or ""),
        query=str(entry.get("query") or ""),
        inputs=dict(inputs) if isinstance(inputs, dict) else {},
        answer=str(entry.get("answer") or ""),
        error=str(entry.get("error") or ""),
        files=[file for file in given if file],
    )


def _file(file: dict[str, Any]) -> dict[str, Any] | None:
    if file.get("belongs_to") != "user":
        return None
    method = file.get("transfer_method")
    given = {"type": file.get("type"), "transfer_method": method}
    if method == "remote_url":
        return given | {"url": file.get("url")}
    return given | {"upload_file_id": file["upload_file_id"]} if file.get("upload_file_id") else None
