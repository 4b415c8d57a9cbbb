"""The upstream over HTTP: one streamed chat completion as events."""

import json
from collections.abc import Iterator
from typing import Any

import httpx

from provider import connections
from provider.completion import CUT_OFF, DONE, CompletionReader, StreamEvent
from provider.credentials import Credentials, advice_for_host
from provider.errors import ProviderError, Refused, Unreachable, clean
from provider.events import UpstreamFailed
from provider.failures import from_response
from provider.sse import EventDecoder

IDLE_SECONDS = 300.0
"""The longest silence: reasoning models think for minutes before they say a word."""


NO_COMPLETION = (
    "The upstream does not answer as an OpenAI-compatible server. Check upstream_base_url; it usually ends in /v1"
)


class Upstream:
    """An OpenAI-compatible server."""

    def __init__(self, credentials: Credentials) -> None:
        self._base_url = credentials.upstream_base_url
        self._key = credentials.upstream_api_key.get_secret_value()
        self._secrets = credentials.secrets

    def complete(self, body: dict[str, Any], seconds: float) -> Iterator[StreamEvent]:
        """Ask for a completion, with at most `seconds` of silence. The last event says how it ended; never raises."""
        if not self._base_url:
            yield UpstreamFailed(Refused("upstream_base_url is empty: set it to the upstream's address"))
            return
        timeout = httpx.Timeout(min(seconds, IDLE_SECONDS), connect=min(seconds, connections.CONNECT_SECONDS))
        try:
            with connections.upstreams().stream(
                "POST", f"{self._base_url}/chat/completions", json=body, headers=self._headers(), timeout=timeout
            ) as response:
                yield from self._read(response)
        except httpx.HTTPError as error:
            yield UpstreamFailed(self._unreachable(error), transient=True)
        except (httpx.InvalidURL, ValueError) as error:
            yield UpstreamFailed(Refused(f"The upstream cannot be asked: {clean(str(error), self._secrets)}"))

    def _headers(self) -> dict[str, str]:
        accept = {"Accept": "text/event-stream, application/json"}
        return accept | ({"Authorization": f"Bearer {self._key}"} if self._key else {})

    def _read(self, response: httpx.Response) -> Iterator[StreamEvent]:
        if response.status_code != httpx.codes.OK:
            body = response.read()
            yield from_response(response.status_code, body, response.headers, self._secrets)
            return
        kind = response.headers.get("content-type", "")
        if kind.startswith("text/html"):
            yield UpstreamFailed(Refused(f"{NO_COMPLETION} (it sent a web page)"))
            return
        reader = CompletionReader(self._secrets)
        for data in _whole(response) if kind.startswith("application/json") else _events(response):
            for event in reader.feed(data):
                yield event
                if isinstance(event, UpstreamFailed):
                    return
        yield reader.close()

    def _unreachable(self, error: httpx.HTTPError) -> ProviderError:
        if isinstance(error, httpx.ReadTimeout):
            return Unreachable("The upstream said nothing for too long. It may be overloaded, or the model too slow")
        if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError):
            return Unreachable(CUT_OFF)
        said = clean(str(error), self._secrets) or type(error).__name__
        return Unreachable(
            f"The upstream cannot be reached at {clean(self._base_url)} ({said}). Check upstream_base_url."
            f"{advice_for_host(self._base_url)}"
        )


def _events(response: httpx.Response) -> Iterator[str]:
    decoder = EventDecoder()
    for piece in response.iter_bytes():
        yield from decoder.feed(piece)
    yield from decoder.close()


def _whole(response: httpx.Response) -> Iterator[str]:
    """A server that does not stream sends everything at once, and nothing can be missing."""
    body = response.read().decode(errors="replace")
    yield (
        body
        if '"choices"' in body or '"error"' in body
        else json.dumps({"error": {"message": NO_COMPLETION, "code": 404}})
    )
    yield DONE
