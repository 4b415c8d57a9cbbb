"""The bridge over HTTP: each exchange is one request, and its outcome one event. Nothing here tries again."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import cache, partial
from typing import Any

import httpx
from pydantic import BaseModel, ValidationError

from provider.bridge import transcripts
from provider.bridge.beats import Beats
from provider.credentials import Credentials, advice_for_host
from provider.engine.events import (
    Attach,
    Attached,
    BridgeFailed,
    CancelTicket,
    ExpireTicket,
    OpenTicket,
    PollTicket,
    Record,
    Recorded,
    SuspendTicket,
    TellDrafts,
    TicketReported,
)
from provider.errors import ProviderError, Refused, Unavailable, Unreachable, clean, with_advice
from provider.upstream import connections
from tools.wire import AGENT, PROTOCOL, AttachResponse, CancelRequest, PingResponse, TicketStatus

log = logging.getLogger(__name__)

_REQUEST_ID = "X-Request-Id"
_GRACE_SECONDS = 15.0
_CONNECT_SECONDS = 5.0
_PARTING_SECONDS = 5.0
_TURN_SECONDS = 10.0

_beats = cache(Beats)


class BridgeClient:
    """One bridge, and the token that it knows the plugin by. An invocation that attaches beats until it is `over`."""

    def __init__(self, credentials: Credentials) -> None:
        self._url = credentials.bridge_url
        self._secrets = credentials.secrets
        token = credentials.bridge_token.get_secret_value()
        self._headers = {"Authorization": f"Bearer {token}", "User-Agent": AGENT}
        self._request_id = ""
        self._answered_at = 0.0
        self.over = False

    def attach(self, exchange: Attach) -> Attached | BridgeFailed:
        """Ask which run an invocation serves."""
        request = exchange.request
        had, of = transcripts.Transcript(), (self._url, self._headers["Authorization"], request.user or "")
        if request.user:
            had = transcripts.last(of)
            request = request.model_copy(update={"has": had.digests})
        outcome = self._ask(AttachResponse, "POST", "attach", request)
        if self._request_id:
            # The bridge names the client's request that this invocation works for.
            self._headers[_REQUEST_ID] = self._request_id
        if isinstance(outcome, BridgeFailed):
            return outcome
        if outcome.beat_seconds:
            path = f"invocations/{request.invocation_id}/beat"
            _beats().begin(partial(self._beat, path, outcome.beat_seconds), outcome.beat_seconds)
        answer = had.completing(outcome)
        transcripts.keep(of, answer)
        return Attached(answer)

    def _beat(self, path: str, seconds: float) -> float | None:
        if self.over:
            return None
        pause = self._answered_at + seconds - time.monotonic()
        if pause > 0:
            return pause
        # Apart, since a bridge may be slow and other beats are due.
        arguments = {"method": "POST", "path": path, "seconds": _PARTING_SECONDS}
        threading.Thread(target=self._send, kwargs=arguments, daemon=True).start()
        return seconds

    def open_ticket(self, exchange: OpenTicket) -> TicketReported | BridgeFailed:
        """Hand over calls and wait for the ticket to change; an older bridge answers at once.

        Asked again with the same ticket, the bridge opens no other.
        """
        seconds = exchange.seconds
        params = {"wait": f"{seconds:.1f}"} if seconds else None
        return self._status("PUT", f"tickets/{exchange.ticket_id}", exchange.request, params, seconds + _GRACE_SECONDS)

    def poll_ticket(self, exchange: PollTicket) -> TicketReported | BridgeFailed:
        """Wait for a ticket to change."""
        return self._status(
            "GET",
            f"tickets/{exchange.ticket_id}",
            params={"wait": f"{exchange.seconds:.1f}", "invocation_id": exchange.invocation_id},
            seconds=exchange.seconds + _GRACE_SECONDS,
        )

    def suspend_ticket(self, exchange: SuspendTicket) -> TicketReported | BridgeFailed:
        """Let go of a ticket."""
        return self._status(
            "POST", f"tickets/{exchange.ticket_id}/suspend", params={"invocation_id": exchange.invocation_id}
        )

    def expire_ticket(self, exchange: ExpireTicket) -> TicketReported | BridgeFailed:
        """Wait no longer for a ticket."""
        return self._status(
            "POST", f"tickets/{exchange.ticket_id}/expire", params={"invocation_id": exchange.invocation_id}
        )

    def cancel_ticket(self, exchange: CancelTicket) -> None:
        """Say that nobody waits any more. That it cannot be said is only logged."""
        request = CancelRequest(reason=exchange.reason, invocation_id=exchange.invocation_id)
        outcome = self._ask(
            TicketStatus, "POST", f"tickets/{exchange.ticket_id}/cancel", request, seconds=_PARTING_SECONDS
        )
        if isinstance(outcome, BridgeFailed):
            log.warning("a ticket could not be cancelled: %s (request %s)", outcome.error, self._request_id)

    def draft(self, drafts: TellDrafts) -> bool:
        """Let a client watch calls grow; say whether that worked."""
        path = f"invocations/{drafts.invocation_id}/drafts"
        outcome = self._send("POST", path, drafts.request, seconds=_PARTING_SECONDS)
        if isinstance(outcome, BridgeFailed):
            log.info("the bridge did not hear of a call in writing: %s (request %s)", outcome.error, self._request_id)
        return not isinstance(outcome, BridgeFailed)

    def record(self, exchange: Record) -> Recorded:
        """Note how an invocation ended. A second try is enough: it costs the bridge only a replay."""
        path = f"invocations/{exchange.invocation_id}/record"
        problem: BridgeFailed | None = None
        for _ in range(2):
            outcome = self._send("POST", path, exchange.request, seconds=_PARTING_SECONDS)
            if not isinstance(outcome, BridgeFailed):
                return Recorded()
            problem = outcome
        if problem:
            log.warning(
                "the end of an invocation could not be recorded: %s (request %s)", problem.error, self._request_id
            )
        return Recorded()

    def ping(self) -> ProviderError | None:
        """Return what is wrong with the bridge's address or token, if anything is."""
        outcome = self._ask(PingResponse, "GET", "ping")
        if isinstance(outcome, BridgeFailed):
            return outcome.error
        if outcome.protocol != PROTOCOL:
            return Refused(
                f"The bridge speaks protocol {outcome.protocol} and this plugin {PROTOCOL}: "
                "install the same version of both"
            )
        return None

    def _status(
        self,
        method: str,
        path: str,
        body: BaseModel | None = None,
        params: Mapping[str, str] | None = None,
        seconds: float = _GRACE_SECONDS,
    ) -> TicketReported | BridgeFailed:
        outcome = self._ask(TicketStatus, method, path, body, params, seconds)
        return outcome if isinstance(outcome, BridgeFailed) else TicketReported(outcome)

    def _ask[T: BaseModel](
        self,
        answer: type[T],
        method: str,
        path: str,
        body: BaseModel | None = None,
        params: Mapping[str, str] | None = None,
        seconds: float = _GRACE_SECONDS,
    ) -> T | BridgeFailed:
        response = self._send(method, path, body, params, seconds)
        if isinstance(response, BridgeFailed):
            return response
        try:
            return answer.model_validate_json(response.content)
        except ValidationError:
            return BridgeFailed(
                Refused(f"{clean(self._url)} does not answer as the bridge does. Check bridge_url; it has no path")
            )

    def _send(
        self,
        method: str,
        path: str,
        body: BaseModel | None = None,
        params: Mapping[str, str] | None = None,
        seconds: float = _GRACE_SECONDS,
    ) -> httpx.Response | BridgeFailed:
        content = body.model_dump_json().encode() if body else b""
        described = {"Content-Type": "application/json", "Content-Length": str(len(content))} if body else {}
        # Hundreds of requests under way at once leave far more memory behind than those that wait for a result.
        turns, turn = connections.turns(self._url), ExitStack()
        if body is not None and turns.acquire(timeout=_TURN_SECONDS):
            turn.callback(turns.release)

        def sent() -> Iterator[bytes]:
            yield content
            if params and "wait" in params:
                turn.close()

        try:
            response = connections.bridges().request(
                method,
                f"{self._url}/plugin/v1/{path}",
                content=sent() if body else None,
                params=dict(params or {}),
                headers=self._headers | described,
                timeout=httpx.Timeout(seconds, connect=_CONNECT_SECONDS),
            )
        except httpx.HTTPError as error:
            return BridgeFailed(self._unreachable(error), transient=True)
        except (httpx.InvalidURL, ValueError) as error:
            return BridgeFailed(Refused(f"The bridge cannot be asked: {clean(str(error), self._secrets)}"))
        finally:
            turn.close()
        self._request_id = response.headers.get(_REQUEST_ID, "")
        if response.is_success:
            self._answered_at = time.monotonic()
            return response
        return self._failed(response)

    def _failed(self, response: httpx.Response) -> BridgeFailed:
        status = response.status_code
        said = clean(_message(response), self._secrets)
        if status in {401, 403}:
            # Dify shows an authorization error in words of its own, as if the upstream's key were wrong.
            unknown = f"The bridge does not know this token: {said}"
            return BridgeFailed(Refused(with_advice(unknown, "Check bridge_token")))
        if status == 429 or status >= 500:
            return BridgeFailed(Unavailable(f"The bridge answered {status}: {said}"), transient=True)
        told = f"The bridge answered {status}: {said}"
        if status in {404, 405} and "json" not in _kind(response):
            told = with_advice(told, "Check bridge_url; it has no path")
        return BridgeFailed(Refused(told))

    def _unreachable(self, error: httpx.HTTPError) -> ProviderError:
        said = clean(str(error), self._secrets) or type(error).__name__
        return Unreachable(
            f"The bridge cannot be reached at {clean(self._url)} ({said}). Is it running? Check bridge_url."
            f"{advice_for_host(self._url)}"
        )


def _kind(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", ""))


def _message(response: httpx.Response) -> str:
    try:
        body: Any = response.json()
        return str(body["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.reason_phrase
