"""What Dify keeps in its database: end users, conversations, messages and workflow runs.

Differs from Dify: all of it lives in memory and ends with the process.
"""

import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

DEFAULT_USER = "DEFAULT-USER"
NO_PARENT = "00000000-0000-0000-0000-000000000000"


def new_id() -> str:
    """A random UUID in Dify's spelling."""
    return str(uuid.uuid4())


@dataclass(slots=True)
class EndUser:
    """One API caller of one app. `session_id` is the caller's `user` string; `id` is what plugins are told."""

    app_id: str
    session_id: str
    id: str = field(default_factory=new_id)
    created_at: float = field(default_factory=time.time)

    @property
    def is_anonymous(self) -> bool:
        """Whether the caller named no user."""
        return self.session_id == DEFAULT_USER


@dataclass(slots=True)
class Conversation:
    """A conversation of one end user with one app."""

    app_id: str
    end_user_id: str
    name: str
    inputs: dict[str, Any]
    introduction: str
    id: str = field(default_factory=new_id)
    created_at: float = field(default_factory=time.time)
    updated_at: float = field(default_factory=time.time)
    variables: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Message:
    """One turn: the query, and the answer once the run has ended well or was stopped."""

    conversation_id: str
    query: str
    inputs: dict[str, Any]
    id: str = field(default_factory=new_id)
    parent_message_id: str = NO_PARENT
    created_at: float = field(default_factory=time.time)
    answer: str = ""
    message_tokens: int = 0
    answer_tokens: int = 0
    total_price: str = "0"
    currency: str = "USD"
    latency: float = 0
    status: str = "normal"
    error: str | None = None
    workflow_run_id: str | None = None


@dataclass(slots=True)
class WorkflowRun:
    """One execution of an app's workflow.

    `nodes` maps node ids to their status, in order of their start; `node_responses` are the node events told so far,
    kept while the run lasts.
    """

    app_id: str
    app_name: str
    workflow_id: str
    end_user: EndUser
    id: str = field(default_factory=new_id)
    task_id: str | None = None
    conversation_id: str | None = None
    message_id: str | None = None
    status: str = "queued"
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    total_steps: int = 0
    total_tokens: int = 0
    exceptions_count: int = 0
    elapsed_time: float = 0
    created_at: float = field(default_factory=time.time)
    finished_at: float | None = None
    worker_killed: bool = False
    nodes: dict[str, str] = field(default_factory=dict)
    node_responses: list[dict[str, Any]] = field(default_factory=list, repr=False)

    @property
    def exists(self) -> bool:
        """Whether Dify would have a row for it by now: it has one from the graph's start on."""
        return self.status != "queued"


class Store:
    """Everything of one box, safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._end_users: dict[str, EndUser] = {}
        self._sessions: dict[tuple[str, str], EndUser] = {}
        self._conversations: dict[str, Conversation] = {}
        self._messages: dict[str, list[Message]] = {}
        self._runs: dict[str, WorkflowRun] = {}
        self._uploads: dict[str, dict[str, Any]] = {}

    def end_user(self, app_id: str, session_id: str | None) -> EndUser:
        """The end user behind a `user` string, made on first sight; no string means the default user."""
        key = (app_id, session_id or DEFAULT_USER)
        with self._lock:
            user = self._sessions.get(key)
            if user is None:
                user = self._sessions[key] = EndUser(app_id=app_id, session_id=key[1])
                self._end_users[user.id] = user
            return user

    def find_end_user(self, app_id: str, end_user_id: str) -> EndUser | None:
        """An app's end user by UUID."""
        user = self._end_users.get(end_user_id)
        return user if user is not None and user.app_id == app_id else None

    def add_conversation(self, conversation: Conversation) -> None:
        """Keep a new conversation."""
        with self._lock:
            self._conversations[conversation.id] = conversation
            self._messages[conversation.id] = []

    def find_conversation(self, conversation_id: str, user: EndUser) -> Conversation | None:
        """A conversation that belongs to this end user and was not deleted."""
        found = self._conversations.get(conversation_id)
        return found if found is not None and found.end_user_id == user.id else None

    def conversations(self, user: EndUser) -> list[Conversation]:
        """All of an end user's conversations."""
        with self._lock:
            return [each for each in self._conversations.values() if each.end_user_id == user.id]

    def delete_conversation(self, conversation: Conversation) -> None:
        """Forget a conversation. A run that is still busy with it goes on, as in Dify."""
        with self._lock:
            self._conversations.pop(conversation.id, None)

    def add_message(self, message: Message) -> None:
        """Keep a new message of a conversation."""
        with self._lock:
            self._messages.setdefault(message.conversation_id, []).append(message)

    def messages(self, conversation_id: str) -> list[Message]:
        """A conversation's messages, oldest first."""
        with self._lock:
            return list(self._messages.get(conversation_id, ()))

    def add_upload(self, user: EndUser, file: dict[str, Any]) -> dict[str, Any]:
        """Keep what an end user uploaded, and return it with its id."""
        kept = {"id": new_id(), "created_by": user.id, **file}
        with self._lock:
            self._uploads[kept["id"]] = kept
        return kept

    def upload(self, user: EndUser, upload_id: str) -> dict[str, Any] | None:
        """An upload of this end user."""
        found = self._uploads.get(upload_id)
        return found if found is not None and found["created_by"] == user.id else None

    def uploads(self) -> list[dict[str, Any]]:
        """Every upload."""
        with self._lock:
            return list(self._uploads.values())

    def add_run(self, run: WorkflowRun) -> None:
        """Keep a new workflow run."""
        with self._lock:
            self._runs[run.id] = run

    def find_run(self, app_id: str, run_id: str) -> WorkflowRun | None:
        """An app's workflow run, once its graph has started."""
        run = self._runs.get(run_id)
        return run if run is not None and run.app_id == app_id and run.exists else None

    def runs(self) -> list[WorkflowRun]:
        """Every workflow run, oldest first."""
        with self._lock:
            return list(self._runs.values())


def thread(messages: Iterable[Message]) -> list[Message]:
    """The messages that belong to the newest one's thread; takes and gives them newest first.

    Source: core/prompt/utils/extract_thread_messages.py. Messages sent by the service API all have the nil parent,
    which counts as a link to any earlier message.
    """
    found: list[Message] = []
    parent = None
    for message in messages:
        if not message.parent_message_id:
            return [*found, message]
        if parent is None or parent in (message.id, NO_PARENT):
            found.append(message)
            parent = message.parent_message_id
    return found
