"""A Dify whose api takes few connections at a time, as it does unless it is told otherwise."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.e2e.conftest import MakeClient, MakeStack, call

CLIENTS = 6


def test_more_clients_than_dify_takes_connections_all_get_their_answer(
    make_stack: MakeStack, make_client: MakeClient, tmp_path: Path
) -> None:
    """A run whose node asks for its tools needs a connection of its own: the bridge asks Dify whose run it is."""
    stack = make_stack(box_options=["--connections", "4"], bridge_settings={"dify_streams": 2})
    clients = [make_client(stack, session=f"{tmp_path.name}-{number}") for number in range(CLIENTS)]

    def answer(number: int) -> str:
        path = f"{number}.txt"
        script = f"{call('write', path=path, content='x')}\n!then\n!say answer {number}"
        return clients[number].ask(script).reply.text

    with ThreadPoolExecutor(CLIENTS) as pool:
        assert list(pool.map(answer, range(CLIENTS))) == [f"answer {number}" for number in range(CLIENTS)]
    assert sorted(path.name for path in tmp_path.glob("*.txt")) == [f"{number}.txt" for number in range(CLIENTS)]
