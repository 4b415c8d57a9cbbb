"""What is said to whoever asks for a path that is not there, mostly with the wrong base URL, or by another method."""

import re
from collections.abc import Iterable

_ENDPOINT = re.compile(
    r"chat/?completions?|responses?\b|models?\b|/v1\b|openai|^/api/(chat|generate|tags)", re.IGNORECASE
)
_MESSAGES = re.compile(r"\bmessages(/count_tokens)?/?$", re.IGNORECASE)
_ELSEWHERE = {
    "completions": "completions of bare text are not offered; use POST /v1/chat/completions",
    "embeddings": "embeddings are not offered: a chatflow answers in words",
    "responses/compact": "compaction is left to the client: ask for a summary with POST /v1/responses, without tools",
    "messages/batches": "batches are not offered; use POST /v1/messages",
    "moderations": "moderation is not offered",
    "images/generations": "images are not made here",
    "audio/speech": "speech is not made here",
    "audio/transcriptions": "audio is not supported",
    "conversations": "conversations are not offered; continue a response with previous_response_id",
}


def advice(path: str, host_url: str, methods: Iterable[str] | None, *, anthropic: bool) -> str | None:
    """Return what to do instead, None where nothing is known of what was meant.

    `methods` are those of the path, where there is one; `anthropic` says whether a client of Anthropic's API asks.
    """
    plain = re.sub(r"/+", "/", path).strip("/").lower()
    for name, sentence in _ELSEWHERE.items():
        if plain == f"v1/{name}":
            return sentence
    if methods is not None:
        return f"this path takes {', '.join(sorted(set(methods) - {'HEAD', 'OPTIONS'}))}"
    if anthropic or _MESSAGES.search(path):
        return f"there is no such path; the base URL of Anthropic's clients is {host_url.rstrip('/')}, without /v1"
    if _ENDPOINT.search(path):
        return f"there is no such path; the base URL for clients is {host_url.rstrip('/')}/v1"
    return None
