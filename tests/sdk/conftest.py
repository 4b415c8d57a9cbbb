"""Official clients against the real parts, each answer held against the SDK's own types."""

from collections.abc import Callable, Iterator

import httpx2
import openai
import pytest

from demo.stack import Stack
from tests.sdk.strict import StrictTransport

MakeOpenAI = Callable[..., openai.OpenAI]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The minimal app, with limits that tests can reach."""
    # Many tests end with calls that nobody answers.
    limits = {"keepalive_seconds": 0.5, "grace_seconds": 1.5, "dify_streams": 100}
    with Stack(tmp_path_factory.mktemp("sdk"), apps=["minimal"], bridge_settings=limits) as running:
        yield running


@pytest.fixture
def client(stack: Stack) -> Iterator[openai.OpenAI]:
    """The official client. A test in which it got no answer would prove nothing."""
    transport = StrictTransport()
    with openai.OpenAI(
        base_url=stack.base_url,
        api_key=stack.client_token,
        max_retries=0,
        http_client=httpx2.Client(transport=transport, timeout=60),
    ) as made:
        yield made
    assert transport.checked
