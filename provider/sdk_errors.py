"""Our errors as the SDK's. Only for the classes that Dify loads."""

from dify_plugin.errors.model import (  # type: ignore[import-untyped]
    InvokeAuthorizationError,
    InvokeBadRequestError,
    InvokeConnectionError,
    InvokeError,
    InvokeRateLimitError,
    InvokeServerUnavailableError,
)

from provider.errors import ProviderError, RateLimited, Refused, Unauthorized, Unavailable, Unreachable

TYPED: dict[type[InvokeError], list[type[Exception]]] = {
    InvokeConnectionError: [Unreachable],
    InvokeServerUnavailableError: [Unavailable],
    InvokeRateLimitError: [RateLimited],
    InvokeAuthorizationError: [Unauthorized],
    InvokeBadRequestError: [Refused],
}


def typed(error: ProviderError) -> InvokeError:
    """Return the SDK's error for ours, with the same text."""
    for sdk, ours in TYPED.items():
        if isinstance(error, tuple(ours)):
            return sdk(str(error))
    return InvokeServerUnavailableError(str(error))
