from collections.abc import Iterator

import pytest

from bridge.dify import DifyClient, Timeouts
from tests.bridge.dify.byte_server import ByteServer
from tests.levels import starts

KEY = "app-0123456789abcdef"


@pytest.fixture
@starts("parts")
def server() -> Iterator[ByteServer]:
    server = ByteServer()
    yield server
    server.close()


@pytest.fixture
def client(server: ByteServer) -> Iterator[DifyClient]:
    client = DifyClient(server.base_url, KEY, timeouts=Timeouts(connect=5, idle=20, answer=20, grace=0.2))
    yield client
    client.close()


@pytest.fixture
def patient(server: ByteServer) -> Iterator[DifyClient]:
    """A client that would wait for minutes for what follows the end of a run."""
    client = DifyClient(server.base_url, KEY, timeouts=Timeouts(connect=5, idle=600, answer=20, grace=600))
    yield client
    client.close()
