"""Everything that can go wrong between the bridge and Dify, each with what to change. No text shows the app's key.

DifyError
├── Unreachable              no connection: the request did not arrive, and sending it again is safe
├── NoAnswer                 the request went out and no answer came: a run may have begun
├── StreamBroke              a run's events ended before the run did
│   └── NotBegun                 Dify accepted a run, and no worker began it
├── NotDify                  something answers at base_url, but not Dify's service API
├── BadKey                   401: Dify does not know the app's key
├── AppUnavailable           400, 403: the app is not published, not a chatflow, or its API is switched off
├── ConversationGone         404: this user has no such conversation
├── FormGone                 404, 412: a form is not there, or its time is up
├── FormSubmitted            412: a form has been answered
├── InvalidInput             400, 413, 422: Dify refuses the request as it is
├── TooManyRequests          429: Dify has no room for another run of this app
├── ServerError              5xx: Dify itself failed
└── RunFailed                the run began, and a node or Dify ended it
    ├── ContextTooLong           the prompt does not fit the model
    ├── RateLimited              the upstream asks to slow down
    ├── QuotaUsedUp              the upstream's or Dify's quota is used up
    ├── CredentialsRefused       the upstream refuses the model's credentials
    ├── ModelMissing             a node's model, provider or plugin is not there
    ├── KilledByTimeout          one model call lasted longer than Dify's plugin daemon allows
    ├── RanTooLong               the whole run lasted longer than Dify allows
    ├── WorkerStopped            Dify's worker was told to end, and ended its runs
    ├── SandboxUnavailable       Dify's code sandbox is out of reach
    ├── UpstreamUnavailable      the upstream, the plugin or its daemon is out of reach
    ├── NodeTooLate              a node asked the bridge for a run that was over by then
    ├── RequestRefused           the upstream refuses the request as it is
    └── InputRefused             the app's Start node refuses the inputs; before Dify 1.13 this is InvalidInput

`waiting_helps` says whether the same request may succeed later. Dify passes a failed node's error on as bare text, so
the kind of a RunFailed is read off that text: see `run_failed`.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

MAX_TEXT = 600


class DifyError(Exception):
    """Something went wrong between the bridge and Dify. `message` says what, `advice` what to change.

    `code` is public: clients and metrics are told it. Every kind has its own, so that none changes with a class's name.
    """

    code = "dify_error"
    advice = ""
    waiting_helps = False

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        self.message = _shortened(message)
        self.status = status
        self.retry_after = retry_after
        super().__init__(" ".join(part for part in (_sentence(self.message), self.advice) if part))


class Unreachable(DifyError):
    """The bridge cannot connect to Dify."""

    code = "unreachable"
    advice = "Check that Dify is running and that the app's base_url is its address."
    waiting_helps = True


class NoAnswer(DifyError):
    """Dify did not answer, although a run may have started."""

    code = "no_answer"
    advice = "Dify may be overloaded or restarting. If this goes on, look into the log of Dify's api service."
    waiting_helps = True


class StreamBroke(DifyError):
    """Dify's event stream ended before the run did."""

    code = "stream_broke"
    advice = "Dify's api or worker was restarted, or a proxy in front of it cut the connection."
    waiting_helps = True


class NotBegun(StreamBroke):
    """Dify accepted the run, but no worker started it."""

    code = "run_not_begun"
    advice = (
        "Start Dify's worker (docker compose up -d worker). If it is running, all of its slots are taken: raise "
        "CELERY_WORKER_AMOUNT."
    )


class NotDify(DifyError):
    """The server at base_url is not Dify's service API."""

    code = "not_dify"
    advice = "Set the app's base_url to the address that Dify shows under API Access; it usually ends in /v1."


class BadKey(DifyError):
    """Dify does not know the app's API key."""

    code = "bad_key"
    advice = "Create a key in Dify under the app's API Access and set it as the app's api_key."


class AppUnavailable(DifyError):
    """Dify does not offer the app through its API."""

    code = "app_unavailable"
    advice = "Open the app in Dify, publish it, and switch its API on. If you set its `kind`, check that, too."


class ConversationGone(DifyError):
    """Dify has no such conversation for this user."""

    code = "conversation_gone"
    advice = "Start a new conversation."


class FormGone(DifyError):
    """The form can no longer be answered."""

    code = "form_expired"
    advice = "The run continues without an answer if the Human Input node has a timeout branch."


class FormSubmitted(DifyError):
    """The form has been answered already."""

    code = "form_answered"


class InvalidInput(DifyError):
    """Dify refuses the request."""

    code = "invalid_input"
    advice = "Compare the app's `inputs` in the bridge's configuration with the Start node's variables."


class TooManyRequests(DifyError):
    """The app has reached its limit of concurrent requests in Dify."""

    code = "too_many_requests"
    advice = "Wait, or raise the app's limit of concurrent requests in Dify."
    waiting_helps = True


class ServerError(DifyError):
    """Dify failed."""

    code = "server_error"
    advice = "Look into the log of Dify's api service."
    waiting_helps = True


class RunFailed(DifyError):
    """A node failed, or Dify ended the run."""

    code = "run_failed"
    advice = "Open the app's run history in Dify to see which node failed."


class ContextTooLong(RunFailed):
    """The prompt is too long for the model."""

    code = "context_too_long"
    advice = "Shorten the conversation, or choose a model with a larger context."


class RateLimited(RunFailed):
    """The upstream limits the request rate."""

    code = "rate_limited"
    advice = "Wait, or raise the rate limit at the model's provider."
    waiting_helps = True


class QuotaUsedUp(RunFailed):
    """The quota at the upstream or in Dify is used up."""

    code = "quota_used_up"
    advice = "Top up the quota at the model's provider, or choose another model in the app."


class CredentialsRefused(RunFailed):
    """The upstream refuses the model's credentials."""

    code = "credentials_refused"
    advice = "Correct the credentials in Dify under Settings, Model Provider."


class ModelMissing(RunFailed):
    """A node's model, provider or plugin is missing."""

    code = "model_missing"
    advice = "Install the plugin in this Dify workspace, set its credentials, and choose its model in the node."


class KilledByTimeout(RunFailed):
    """A model call exceeded the time limit of Dify's plugin daemon (600 s by default)."""

    code = "killed_by_timeout"
    advice = "Lower the node's callback_wait_seconds, or raise PLUGIN_MAX_EXECUTION_TIMEOUT and PLUGIN_DAEMON_TIMEOUT."


class RanTooLong(RunFailed):
    """The run exceeded Dify's time limit (1200 s by default)."""

    code = "ran_too_long"
    advice = "Lower the nodes' callback_wait_seconds, or raise WORKFLOW_MAX_EXECUTION_TIME and APP_MAX_EXECUTION_TIME."


class WorkerStopped(RunFailed):
    """Dify's worker was told to end, as by a restart or an upgrade, and ended its runs."""

    code = "worker_stopped"
    advice = "Send the request again once Dify's worker is back."
    waiting_helps = True


class SandboxUnavailable(RunFailed):
    """Dify's code sandbox cannot be reached."""

    code = "sandbox_unavailable"
    advice = "Start Dify's sandbox (docker compose up -d sandbox): the app's Code and Template nodes need it."


class UpstreamUnavailable(RunFailed):
    """The upstream, the plugin or the plugin daemon cannot be reached."""

    code = "upstream_unavailable"
    advice = "Check that the upstream and Dify's plugin daemon are running."
    waiting_helps = True


class NodeTooLate(RunFailed):
    """A node asked the bridge for a run that was over, or had begun again: nobody waits for it."""

    code = "node_too_late"
    advice = "Send the request again."
    waiting_helps = True


class RequestRefused(RunFailed):
    """The upstream refuses the request."""

    code = "request_refused"
    advice = "Compare the node's parameters with what the model accepts."


class InputRefused(RunFailed):
    """The app's Start node refuses the inputs."""

    code = "input_refused"
    advice = InvalidInput.advice


# The first that matches counts: an exhausted quota also arrives as a 429, and a prompt that is too long as a 400.
_RUN_FAILURES: tuple[tuple[type[RunFailed], str], ...] = (
    (RequestRefused, r"the upstream's filter refuses"),
    (
        ContextTooLong,
        r"context_length_exceeded|maximum context length|context (window|length|size)|(prompt|input) is too long"
        r"|too many (input )?tokens|exceeds? the (model's )?(maximum|max)\w* (number of )?(input )?tokens",
    ),
    (NodeTooLate, r"the bridge answered 410\b"),
    (InputRefused, r"\bin input form\b"),
    (KilledByTimeout, r"killed by timeout|the time that Dify gives a model"),
    # Source: `extensions/workflow_warm_shutdown.py` of Dify 1.16.
    (WorkerStopped, r"the worker is shutting down"),
    (RanTooLong, r"maximum execution (time|steps) exceeded|execution time limit"),
    (
        QuotaUsedUp,
        r"insufficient_quota|quota[ _](has been |is |was )?(exceeded|exhausted|used up)|current quota|no quota left",
    ),
    (RateLimited, r"InvokeRateLimitError|rate[ _-]?limit|too many requests|{status}429\b"),
    (
        CredentialsRefused,
        r"InvokeAuthorizationError|incorrect model credentials|(invalid|incorrect)[ _]api[ _]key|authentication_error"
        r"|unauthorized|{status}40[13]\b",
    ),
    (
        ModelMissing,
        r"(provider|model) \S+ (schema )?(does not exist|not found)|credentials is not initialized"
        r"|model is not configured"
        r"|model schema not found|plugin[ _]?not[ _]?found|PluginUniqueIdentifierError|plugin \S* ?(is )?not installed",
    ),
    (SandboxUnavailable, r"the sandbox service|code execution service|failed to execute code, got status"),
    (
        UpstreamUnavailable,
        r"InvokeConnectionError|InvokeServerUnavailableError|connection (error|refused|reset|timed out)"
        r"|server unavailable|service unavailable|bad gateway|overloaded"
        r"|plugin daemon service failed|PluginDaemonInternalServerError|cannot be reached|said nothing for too long"
        r"|broke off before its end"
        r"|{status}(408|425|5\d\d)\b",
    ),
    (RequestRefused, r"InvokeBadRequestError|bad request|invalid_request_error|{status}4(00|04|13|22)\b"),
)
_STATUS = r"(http|status|error|code|answered)[^0-9a-z]{1,9}(code[^0-9a-z]{1,4})?"
_RUN_PATTERNS = [
    (kind, re.compile(pattern.replace("{status}", _STATUS), re.IGNORECASE)) for kind, pattern in _RUN_FAILURES
]


_OURS = "The upstream answered "
_KNOWN = {ContextTooLong: "context_length_exceeded", QuotaUsedUp: "no quota left"}
"""Our provider knows its upstreams' words, and says so in its own where they mean one of these."""


def run_failed(error: str | None, *, status: int | None = None, retry_after: float | None = None) -> RunFailed:
    """Return the failure that the `error` text of a failed node or workflow speaks of."""
    text = (error or "").removeprefix("Run failed: ").strip()
    kind_of_error, message = _from_plugin(text)
    searched = f"{kind_of_error} {message}"
    kinds = (kind for kind, pattern in _RUN_PATTERNS if pattern.search(searched))
    told = {kind for kind, words in _KNOWN.items() if _OURS in message and words not in message}
    kind = next((kind for kind in kinds if kind not in told), RunFailed)
    return kind(message or "The workflow run failed without saying why", status=status, retry_after=retry_after)


def _from_plugin(text: str) -> tuple[str, str]:
    """Take the type and the message out of an error that Dify shows as a plugin's JSON, with its traceback.

    Source: `core/plugin/impl/base.py` and `exc.py` of Dify 1.16.
    """
    start = text.find('{"')
    if start < 0:
        return "", text
    try:
        value, _ = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return "", text
    message = value.get("message")
    if not isinstance(message, str) or "error_type" not in value:
        return "", text
    return f"{text[:start]} {value['error_type']}", message or str(value["error_type"])


_APP_CODES = {
    "app_unavailable",
    "not_chat_app",
    "not_completion_app",
    "not_workflow_app",
    "agent_not_published",
    "workflow_version_execution_not_allowed",
}
_RUN_CODES: Mapping[str, type[RunFailed]] = {
    "provider_not_initialize": ModelMissing,
    "model_currently_not_support": ModelMissing,
    "provider_quota_exceeded": QuotaUsedUp,
    "rate_limit_error": RateLimited,
}
_FORM_CODES: Mapping[str, type[DifyError]] = {
    "human_input_form_submitted": FormSubmitted,
    "human_input_form_expired": FormGone,
    "human_input_form_not_found": FormGone,
}
"""Source: `services/human_input_service.py` of Dify 1.16."""
_NOT_PUBLISHED = re.compile(r"workflow not (published|initialized)", re.IGNORECASE)
_NO_CONVERSATION = re.compile(r"conversation not exist", re.IGNORECASE)


def refused(status: int, headers: Mapping[str, str], body: bytes) -> DifyError:
    """Return what an HTTP error of the service API means.

    Source of the codes: `controllers/service_api/app/error.py` and `libs/external_api.py` of Dify 1.16.
    """
    retry_after = _seconds(headers.get("retry-after"))
    problem = _problem(body)
    if problem is None:
        return _refused_without_words(status, retry_after)
    code, message = problem
    return _refused(status, code, message, retry_after)


def failed(status: int, code: str, message: str) -> DifyError:
    """Return what an `error` event in a run's stream means."""
    if status == 400 and code in {"invalid_param", "completion_request_error", ""}:
        failure = run_failed(message, status=status)
        return _refused(status, code, message, None) if type(failure) in {RunFailed, InputRefused} else failure
    return _refused(status, code, message, None)


def _refused(status: int, code: str, message: str, retry_after: float | None) -> DifyError:
    message = message or code or f"Dify answered with status {status}"
    if code in _RUN_CODES:
        return _RUN_CODES[code](message, status=status, retry_after=retry_after)
    if code == "completion_request_error":
        return run_failed(message, status=status, retry_after=retry_after)
    if code in _APP_CODES or _NOT_PUBLISHED.search(message):
        return AppUnavailable(message, status=status)
    if code in _FORM_CODES:
        return _FORM_CODES[code](message, status=status)
    if code == "conversation_completed" or _NO_CONVERSATION.search(message):
        return ConversationGone(message, status=status)
    return _by_status(status)(message, status=status, retry_after=retry_after)


def _refused_without_words(status: int, retry_after: float | None) -> DifyError:
    kind = _by_status(status)
    if kind in {InvalidInput, AppUnavailable} and status != 413:
        kind = NotDify
    return kind(f"The answer had status {status} and was not Dify's", status=status, retry_after=retry_after)


def _by_status(status: int) -> type[DifyError]:
    if status >= 500:
        return ServerError
    return _KINDS.get(status, InvalidInput if status >= 400 else NotDify)


_KINDS: Mapping[int, type[DifyError]] = {
    401: BadKey,
    403: AppUnavailable,
    404: NotDify,
    405: NotDify,
    429: TooManyRequests,
}


def _problem(body: bytes) -> tuple[str, str] | None:
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    code, message = value.get("code"), value.get("message")
    if not isinstance(message, str) or not isinstance(code, str | None):
        return None
    return code or "", message


def _seconds(retry_after: str | None) -> float | None:
    """Read a Retry-After header: seconds, or a date."""
    if not retry_after:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (until - datetime.now(UTC)).total_seconds())


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


def _sentence(text: str) -> str:
    return text if not text or text[-1] in ".!?…" else f"{text}."
