"""What was said in a user's conversations, as the service API tells it.

Source: `controllers/service_api/app/{conversation,message}.py` and `fields/message_fields.py` of Dify 1.16. A list of
conversations holds only those that were begun through the API; one from the web app can be asked for by its id.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bridge.dify.client import DifyClient
from bridge.dify.errors import ConversationGone

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
