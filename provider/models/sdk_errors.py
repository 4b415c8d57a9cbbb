"""Our errors as the SDK's. Only for the classes that Dify loads."""

import logging

from dify_plugin.errors.model import (  # type: ignore[import-untyped]
    InvokeBadRequestError,
    InvokeConnectionError,
    InvokeError,
    InvokeRateLimitError,
    InvokeServerUnavailableError,
)

from provider.errors import RateLimited, Refused, Unauthorized, Unavailable, Unreachable

log = logging.getLogger(__name__)

TYPED: dict[type[InvokeError], list[type[Exception]]] = {
    InvokeConnectionError: [Unreachable],
    InvokeServerUnavailableError: [Unavailable],
    InvokeRateLimitError: [RateLimited],
    # Dify puts its own words in the place of an authorization error's, which name the key and the server's reason.
    InvokeBadRequestError: [Refused, Unauthorized],
}


def typed(error: Exception) -> InvokeError:
    """Return the SDK's error for ours, with the same text. A fault of the plugin itself is named by its type alone."""
    if isinstance(error, InvokeError):
        return error
    for sdk, ours in TYPED.items():
        if isinstance(error, tuple(ours)):
            return sdk(str(error))
    log.exception("a fault of the plugin", exc_info=error)
    return InvokeServerUnavailableError(
        f"The plugin failed ({type(error).__name__}). This is a fault of Clawback; the plugin daemon's log says more"
    )
