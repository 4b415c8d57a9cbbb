"""The address of Dify's service API, found from what a person would type, and the app behind a key.

So is the endpoint of Clawback Tools, and what is picked there.
"""

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr

from bridge.commands.init.errors import SetupError
from bridge.config import DifyTools
from bridge.dify import DifyClient, Timeouts
from bridge.dify.apps import kind_of
from bridge.dify.errors import AppUnavailable, BadKey, DifyError, NotDify, Unreachable
from bridge.dify.tools import ToolsEndpoint, ToolsProblem

# Dify answers a key that it does not know as only Dify does.
_NO_KEY = "app-clawback-asks-who-is-there"
_PATIENCE = Timeouts(connect=5, answer=15)
_CLOUD = ("https://cloud.dify.ai", "https://api.dify.ai/v1")


@dataclass(frozen=True, slots=True)
class FoundApp:
    """An app as Dify describes it. `problem` is what keeps it from answering now, and can be mended in Dify."""

    name: str
    description: str
    problem: str = ""

    @property
    def model(self) -> str:
        """A model id made of its name."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")[:64] or "assistant"


def find_address(typed: str) -> str:
    """Return the service API's address, `http://host/v1`. Raises SetupError when no Dify answers there."""
    refused: DifyError | None = None
    for address in _candidates(typed):
        with closing(DifyClient(address, _NO_KEY, timeouts=_PATIENCE)) as client:
            try:
                client.info()
            except NotDify as error:
                refused = error
                continue
            except BadKey as error:
                if not _is_wordless(error):
                    return address
                refused = error
            except Unreachable as error:
                raise SetupError(f"{error.message}. Check that Dify is running, and that this is its address") from None
            except DifyError as error:
                raise SetupError(str(error)) from None
            else:
                return address
    raise SetupError(f"The server at {typed} is not Dify. {NotDify.advice} ({refused and refused.message})")


def _is_wordless(error: DifyError) -> bool:
    """Say whether the refusal came from something that is not Dify, such as a proxy's login."""
    return error.message.endswith("was not Dify's")


def _candidates(typed: str) -> Iterator[str]:
    text = typed.strip().rstrip("/")
    text = text if "://" in text else f"http://{text}"
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SetupError(f"{typed!r} is not an address: it should look like http://dify.example or https://api.dify.ai")
    root = f"{parts.scheme}://{parts.netloc}"
    if root == _CLOUD[0]:
        yield _CLOUD[1]
        return
    path = parts.path if parts.path.endswith("/v1") else f"{parts.path}/v1"
    yield from dict.fromkeys([f"{root}{path}", f"{root}/v1"])


def look_at(base_url: str, api_key: str) -> FoundApp:
    """Return the app that a key opens. Raises SetupError when there is none, or one of a kind that is not served."""
    try:
        with closing(DifyClient(base_url, api_key, timeouts=_PATIENCE)) as client:
            return _described(client)
    except AppUnavailable as error:
        return FoundApp("", "", str(error))
    except BadKey:
        raise SetupError(
            f"Dify at {base_url} does not know this key. Copy one from the app's API Access page; it begins with app-"
        ) from None
    except DifyError as error:
        raise SetupError(str(error)) from None


_OF_ENDPOINT = re.compile(r"(?<=/e/)([^/]+)/(call|tools|health)/*$")


def endpoint_url(typed: str) -> str:
    """Return the address of Clawback Tools' endpoint; Dify shows that of each of its paths. Raises SetupError."""
    url = _OF_ENDPOINT.sub(r"\1", typed.strip()).rstrip("/")
    parts = urlsplit(url)
    if url and (parts.scheme not in {"http", "https"} or not parts.hostname):
        raise SetupError(f"{typed!r} is not an address: it should look like http://dify.example/e/abc123")
    return url


def tools_at(url: str, token: str) -> list[str]:
    """Return the names of the tools that are picked at an endpoint of Clawback Tools. Raises SetupError."""
    if not url:
        raise SetupError(
            "The address is missing: Dify shows it beside the endpoint, such as http://dify.example/e/abc123"
        )
    try:
        with closing(ToolsEndpoint(DifyTools(url=url, token=SecretStr(token)))) as endpoint:
            return [tool.definition.name for tool in endpoint.tools()]
    except ToolsProblem as problem:
        raise SetupError(str(problem)) from None


def _described(client: DifyClient) -> FoundApp:
    info = client.info()
    if kind_of(info.mode) is None:
        raise SetupError(
            f"The key opens “{info.name}”, which is an app of the kind {info.mode!r}. Clawback shows chatflows, "
            "workflows, chat apps and agents: create one in Dify, or import one of examples/, and use its key"
        )
    try:
        client.parameters()
    except AppUnavailable as error:
        return FoundApp(info.name, info.description, str(error))
    return FoundApp(info.name, info.description)
