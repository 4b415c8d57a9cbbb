"""Whether upstream and bridge answer. Both are asked, so that one look shows all that is wrong."""

import time

from provider.bridge.client import BridgeClient
from provider.credentials import Credentials
from provider.errors import ProviderError, Refused
from provider.upstream.probe import ask, find_out

_PATIENCE = 120.0
# Some servers refuse fewer: https://platform.openai.com/docs/api-reference/responses/create
_FEWEST_TOKENS = 16


def problems_of(credentials: Credentials, models: list[str]) -> list[str]:
    """Return what is wrong, a sentence each: which side failed, why, and which field to change.

    What the models can do is found out on the way.
    """
    found = [f"Upstream ({model}): {error}" for model in models if (error := upstream_problem(credentials, model))]
    error = bridge_problem(credentials)
    return [*found, f"Bridge: {error}"] if error else found


def upstream_problem(credentials: Credentials, model: str) -> ProviderError | None:
    """Ask the upstream for a tiny completion, streamed like every other, and then what the model can do."""
    if not credentials.names(model):
        return Refused("upstream_model is empty: set it to the upstream's name of the model")
    ping = [{"role": "user", "content": "ping"}]
    heard = ask(credentials, model, time.monotonic() + _PATIENCE, messages=ping, max_tokens=_FEWEST_TOKENS)
    if heard.failed:
        return heard.failed.error
    find_out(credentials, model, heard)
    return None


def bridge_problem(credentials: Credentials) -> ProviderError | None:
    """Ask the bridge whether it knows the token. Without a bridge nothing is wrong: the callbacks are just off."""
    url, token = credentials.bridge_url, credentials.bridge_token.get_secret_value()
    if not url and not token:
        return None
    if not url:
        return Refused("bridge_token is set and bridge_url is empty. Set both, or neither")
    if not token:
        return Refused("bridge_url is set and bridge_token is empty. Set it to the bridge's plugin token")
    return BridgeClient(credentials).ping()
