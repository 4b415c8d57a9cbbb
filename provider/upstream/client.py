"""The upstream over HTTP: one completion as events."""

import codecs
import json
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import httpx

from provider.credentials import MAIN, Credentials, advice_for_host
from provider.engine.events import Asked, Completed, UpstreamFailed
from provider.errors import ProviderError, Refused, Unreachable, clean
from provider.upstream import connections
from provider.upstream.capabilities import Capabilities, capabilities
from provider.upstream.completion import CUT_OFF, DONE, CompletionReader, StreamEvent, error_in
from provider.upstream.dialect import Dialect
from provider.upstream.failures import from_response
from provider.upstream.patience import Patience
from provider.upstream.sse import EventDecoder

NO_ADDRESS = "upstream_base_url is empty: set it to the upstream's address, or choose your vendor in upstream_vendor"
SILENT = (
    "The upstream said nothing for too long. It may be overloaded, or the model too slow; to wait longer, raise "
    "first_token_seconds or idle_seconds in the provider's settings"
)
NO_COMPLETION = (
    "The upstream does not answer as an OpenAI-compatible server. Check upstream_base_url; it usually ends in /v1"
)


_END_SECONDS = 0.01


class Upstream:
    """An OpenAI-compatible server, asked for one of Dify's models, with a node's own `headers`."""

    def __init__(
        self,
        form: Credentials,
        model: str = MAIN,
        headers: Mapping[str, str] | None = None,
        can: Capabilities | None = None,
    ) -> None:
        self._form = form
        self._dialect = Dialect(form, can or capabilities(form, model))
        self._base_url = form.upstream_base_url
        self._headers = _headers(form) | dict(headers or {})
        self._secrets = (*form.secrets, *(headers or {}).values())

    def complete(self, request: dict[str, Any], seconds: float) -> Generator[StreamEvent]:
        """Ask for a completion, with at most `seconds` of silence. The last event says how it ended; never raises.

        What the upstream refuses and a request can do without is left out, and the request sent again.
        """
        if not self._base_url:
            yield UpstreamFailed(Refused(NO_ADDRESS))
            return
        left_out: set[str] = set()
        asked: list[Asked] = []
        while True:
            body, began = self._dialect.write(request), time.monotonic()
            refused: str | None = None
            with closing(self._ask(body, seconds, show_reasoning=request.get("thinking") is not False)) as events:
                for event in self._dialect.stand_in(events, request, body):
                    if isinstance(event, UpstreamFailed):
                        refused = self._dialect.learn(body, event)
                    if isinstance(event, Completed | UpstreamFailed):
                        asked.append(_asked(body, time.monotonic() - began, event, refused, self._dialect.left_out))
                        if refused and refused not in left_out:
                            break
                        event = replace(event, asked=asked)
                    yield event
            if not refused or refused in left_out:
                return
            left_out.add(refused)

    def _ask(self, body: dict[str, Any], seconds: float, *, show_reasoning: bool) -> Generator[StreamEvent]:
        form, path = self._form, "completions" if self._form.completion_mode == "completion" else "chat/completions"
        first, between = min(seconds, form.first_token_seconds), min(seconds, form.idle_seconds)
        timeout = httpx.Timeout(max(first, between) + 1, connect=min(seconds, form.connect_seconds))
        patience: Patience | None = None
        try:
            client = connections.upstreams(form.proxy_url.get_secret_value(), form.ca_certificate)
            with (
                client.stream(
                    "POST", form.address(path), json=body, headers=self._headers, timeout=timeout
                ) as response,
                Patience(response, first, between) as patience,
            ):
                yield from self._read(
                    response,
                    patience,
                    CompletionReader(self._secrets, show_reasoning=show_reasoning, may_be_empty=may_be_empty(body)),
                )
        except httpx.HTTPError as error:
            silent = isinstance(error, httpx.ReadTimeout) or (patience is not None and patience.lost)
            yield UpstreamFailed(Unreachable(SILENT) if silent else self._unreachable(error), transient=True)
        except (httpx.InvalidURL, ValueError, ImportError) as error:
            yield UpstreamFailed(Refused(f"The upstream cannot be asked: {clean(str(error), self._secrets)}"))

    def _read(self, response: httpx.Response, patience: Patience, reader: CompletionReader) -> Iterator[StreamEvent]:
        if response.status_code != httpx.codes.OK:
            body = response.read()
            yield from_response(response.status_code, body, response.headers, self._secrets)
            return
        kind = response.headers.get("content-type", "")
        if kind.startswith("text/html"):
            yield UpstreamFailed(Refused(f"{NO_COMPLETION} (it sent a web page)"))
            return
        said = _data(response)
        try:
            for data in said:
                patience.heard()
                for event in reader.feed(data):
                    yield event
                    if isinstance(event, UpstreamFailed):
                        return
                if reader.is_done:
                    # A connection whose answer is read to its end serves the next request; its end is not waited for.
                    patience.end(_END_SECONDS)
                    with suppress(httpx.HTTPError):
                        next(said, None)
                    break
        except httpx.HTTPError:
            # What breaks behind the end takes nothing away.
            if not reader.is_ended:
                raise
        yield from reader.rest()
        end = reader.close()
        is_cut = patience.lost and isinstance(end, UpstreamFailed)
        yield UpstreamFailed(Unreachable(SILENT), transient=True) if is_cut else end

    def _unreachable(self, error: httpx.HTTPError) -> ProviderError:
        if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError):
            return Unreachable(CUT_OFF)
        said = clean(str(error), self._secrets) or type(error).__name__
        return Unreachable(
            f"The upstream cannot be reached at {clean(self._base_url)} ({said}). Check upstream_base_url."
            f"{advice_for_host(self._base_url)}"
        )


def may_be_empty(body: Mapping[str, Any]) -> bool:
    """Whether nothing may be all that a model has to say: behind a tool's result, or where a word ends its answer."""
    messages = body.get("messages") or []
    return bool(body.get("stop")) or (bool(messages) and messages[-1].get("role") == "tool")


def _headers(form: Credentials) -> dict[str, str]:
    key = form.upstream_api_key.get_secret_value()
    authorization = {"Authorization": f"Bearer {key}"} if key else {}
    return {"Accept": "text/event-stream, application/json"} | authorization | form.headers


def _asked(
    body: dict[str, Any], seconds: float, event: Completed | UpstreamFailed, lesson: str | None, left_out: list[str]
) -> Asked:
    if isinstance(event, Completed):
        return Asked(body, seconds, left_out=left_out)
    return Asked(body, seconds, str(event.error), event.status, lesson)


def _data(response: httpx.Response) -> Iterator[str]:
    """Yield the data of a body's events, or a body that is one JSON text. What it is shows in it, not in its header."""
    pieces, head = response.iter_bytes(), b""
    for piece in pieces:
        head += piece
        begun = head.removeprefix(codecs.BOM_UTF8).lstrip()
        # One JSON object a line is a stream as well, so the first line has to be seen.
        if begun and (not begun.startswith((b"{", b"[")) or b"\n" in begun):
            break
    begun = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if not begun.startswith((b"{", b"[")) or (b"\n" in begun.rstrip() and _is_json(begun.partition(b"\n")[0])):
        decoder = EventDecoder()
        yield from decoder.feed(head)
        for piece in pieces:
            yield from decoder.feed(piece)
        yield from decoder.close()
        return
    body = head + b"".join(pieces)
    # Nothing can be missing of a JSON text that is whole.
    if _is_json(body.removeprefix(codecs.BOM_UTF8)):
        whole = body.removeprefix(codecs.BOM_UTF8).decode(errors="replace")
        said = json.loads(whole)
        is_answer = not isinstance(said, dict) or "choices" in said or error_in(said, []) is not None
        yield whole if is_answer else json.dumps({"error": {"message": NO_COMPLETION, "code": 400}})
        yield DONE
    elif response.headers.get("content-type", "").startswith("application/json"):
        yield json.dumps({"error": {"message": CUT_OFF, "code": 502}})


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True
