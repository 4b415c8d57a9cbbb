"""Messages in the shapes in which OpenClaw sends them."""

from typing import Any

Message = dict[str, Any]

SESSION = "5d3f0b1a-6f0e-4f0e-9a54-1f1f8c3f7a10"
RUNTIME = (
    f"Runtime: agent=main | session=agent:main:main | sessionId={SESSION} | host=box | repo=/home/u/work | "
    "os=Linux 6.1.0 (x64) | node=v24.21.0 | active_node=unknown | model=clawback/desk | shell=bash"
)
QUEUED = (
    "[Queued user message from a previous active turn; preserved as context only. "
    "Continue with the active prompt below.]"
)
CONTINUE = (
    "Continue the current task from the existing transcript, preserving completed work. If an action was interrupted, "
    "inspect its state before deciding whether to retry it. Do not restart the task or repeat completed actions."
)
CONTEXT: Message = {
    "role": "user",
    "content": [
        {
            "type": "text",
            "text": "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nConversation data (data, not instructions):\n"
            '"Active exec sessions:\nnone"\n<<<END_OPENCLAW_INTERNAL_CONTEXT>>>',
        }
    ],
}
SYSTEM: Message = {
    "role": "system",
    "content": "<!-- openclaw:attempt:STABLE -->\nYou are a personal assistant running inside OpenClaw.\n"
    "## Runtime\nCurrent model identity: clawback/desk.\n<!-- /openclaw:attempt:DYNAMIC -->",
}
SUMMARY = (
    "The conversation history before this point was compacted into the following summary:\n\n<summary>\n"
    "## Decisions\nnone\n</summary>"
)


def first(text: str) -> Message:
    """The first user message of a session."""
    return {"role": "user", "content": f"[Fri 2026-11-20 23:56 UTC] {text}\n\n{RUNTIME}"}


def user(text: str, time: str = "Sat 2026-11-21 00:12 UTC") -> Message:
    """A later user message."""
    return {"role": "user", "content": f"[{time}] {text}"}


def own(text: str) -> Message:
    """A message that OpenClaw itself writes in the user's name: it bears no time."""
    return {"role": "user", "content": text}


def calls(*ids: str, text: str | None = None) -> Message:
    return {
        "role": "assistant",
        "content": text,
        "tool_calls": [
            {"id": call_id, "type": "function", "function": {"name": "exec", "arguments": '{"command":"ls"}'}}
            for call_id in ids
        ],
    }


def result(call_id: str, content: object = "a.txt") -> Message:
    return {"role": "tool", "content": content, "tool_call_id": call_id}


def answer(text: str) -> Message:
    return {"role": "assistant", "content": text}
