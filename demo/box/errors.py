"""How a plugin's errors reach a node: Dify's mapping of plugin daemon errors.

DaemonError                  what the daemon answers instead of a chunk
    -> one of graphon's five typed Invoke*Errors, whose text is the plugin's own
    -> PluginInvokeError     everything else the plugin raised; its text is the whole JSON
    -> InvokeError           what the daemon itself raised, such as "killed by timeout"

Sources: core/plugin/impl/base.py (_handle_plugin_daemon_error), core/plugin/impl/exc.py, and graphon's
model_runtime/model_providers/base/ai_model.py (_transform_invoke_error).
"""

import json
import uuid

from graphon.model_runtime.errors.invoke import (
    InvokeAuthorizationError,
    InvokeBadRequestError,
    InvokeConnectionError,
    InvokeError,
    InvokeRateLimitError,
    InvokeServerUnavailableError,
)

PLUGIN_INVOKE_ERROR = "PluginInvokeError"
DAEMON_INNER_ERROR = "PluginDaemonInnerError"
DAEMON_INTERNAL_SERVER_ERROR = "PluginDaemonInternalServerError"

_TYPED: dict[str, type[InvokeError]] = {
    kind.__name__: kind
    for kind in (
        InvokeRateLimitError,
        InvokeAuthorizationError,
        InvokeBadRequestError,
        InvokeConnectionError,
        InvokeServerUnavailableError,
    )
}


class DaemonError(Exception):
    """An error item of the plugin daemon: its type, and a message that for a plugin's own errors is JSON."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(f"{error_type}: {message}")
        self.error_type = error_type
        self.message = message


class PluginInvokeError(ValueError):
    """An error of the plugin that is none of the five typed ones: Dify shows all of its JSON."""


class ProviderTokenNotInitError(ValueError):
    """A node's model has no credentials."""

    description = "Provider Token Not Init"

    def __init__(self, description: str) -> None:
        super().__init__(description)
        self.description = description


def as_node_error(error: DaemonError, provider_label: str) -> Exception:
    """The exception that Dify raises in the node; its text is the node's `error`."""
    if error.error_type == PLUGIN_INVOKE_ERROR:
        return _plugin_error(error.message, provider_label)
    if error.error_type == DAEMON_INNER_ERROR:
        return ValueError(error.message)
    return InvokeError(f"[{provider_label}] Error: {_request_tag()} {error.error_type}: {error.message}")


def _plugin_error(message: str, provider_label: str) -> Exception:
    raised = json.loads(message)
    kind = _TYPED.get(str(raised.get("error_type")))
    if kind is None:
        return PluginInvokeError(f"{_request_tag()} {PLUGIN_INVOKE_ERROR}: {message}")
    if kind is InvokeAuthorizationError:
        return InvokeAuthorizationError(
            f"[{provider_label}] Incorrect model credentials provided, please check and try again."
        )
    return kind(raised.get("message"))


def _request_tag() -> str:
    return f"req_id: {uuid.uuid4().hex[:10]}"
