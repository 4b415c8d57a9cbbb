"""What is said to whoever asks for a path that is not there: mostly a client with the wrong base URL."""

import re

_ENDPOINT = re.compile(
    r"chat/?completions?|responses?\b|models?\b|/v1\b|openai|^/api/(chat|generate|tags)", re.IGNORECASE
)
_MESSAGES = re.compile(r"\bmessages(/count_tokens)?/?$", re.IGNORECASE)
_ELSEWHERE = {
    "completions": "completions of bare text are not offered; use POST /v1/chat/completions",
    "embeddings": "embeddings are not offered: a chatflow answers in words",
    "responses/compact": "compaction is left to the client: ask for a summary with POST /v1/responses, without tools",
    "moderations": "moderation is not offered",
    "images/generations": "images are not made here",
    "audio/speech": "speech is not made here",
    "audio/transcriptions": "audio is not supported",
    "conversations": "conversations are not offered; continue a response with previous_response_id",
}


def advice(path: str, host_url: str) -> str | None:
    """Return what to do instead, None where nothing is known of what was meant."""
    plain = re.sub(r"/+", "/", path).strip("/").lower()
    for name, sentence in _ELSEWHERE.items():
        if plain == f"v1/{name}":
            return sentence
    if _MESSAGES.search(path):
        return f"there is no such path; the base URL of Anthropic's clients is {host_url.rstrip('/')}, without /v1"
    if _ENDPOINT.search(path):
        return f"there is no such path; the base URL for clients is {host_url.rstrip('/')}/v1"
    return None
