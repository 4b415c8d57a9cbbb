"""Long requests beside others: `python -m bench.long_requests`.

A request of a tenth, a third and all of the messages and tools that the limits allow, and one of far more, is sent
through a whole stack, while another client asks `/healthz` again and again over one connection. Printed is, a JSON line
each, how the long request was answered, how many seconds it took, and the longest that `/healthz` took meanwhile.
"""

import http.client
import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bridge.config import Limits
from demo.stack import Stack

APP = "minimal"
PAUSE_SECONDS = 0.005
BEYOND = 20
"""How many times more than allowed the last request of each kind holds."""

Body = dict[str, Any]
ASKED = {"role": "user", "content": "!say hi"}


def main() -> None:
    # Each client is a process of its own: in one they would wait for each other.
    spawned = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name, Stack(Path(name), apps=[APP]) as stack:
        print(json.dumps({"sent": "nothing", "slowest_health_ms": health_during(stack.bridge_url, spawned, "", "")}))
        for sent, body in bodies():
            data = json.dumps({"model": APP, **body})
            ours, theirs = spawned.Pipe()
            slowest = health_during(stack.bridge_url, spawned, data, stack.client_token, theirs)
            status, seconds = ours.recv()
            figures = {"bytes": len(data), "status": status, "seconds": seconds, "slowest_health_ms": slowest}
            print(json.dumps({"sent": sent, **figures}), flush=True)


def bodies() -> Iterator[tuple[str, Body]]:
    most = Limits()
    for part, count in parts(most.messages):
        yield f"{part} messages", {"messages": [{"role": "user", "content": "x" * 10}] * (count - 1) + [ASKED]}
    for part, count in parts(most.messages):
        yield f"{part} calls and results", {"messages": [ASKED, *calls_and_results(count // 2 - 1), ASKED]}
    for part, count in parts(most.tools):
        yield f"{part} tools", {"messages": [ASKED], "tools": [tool(number) for number in range(count)]}


def parts(most: int) -> list[tuple[str, int]]:
    counts = [most // 10, most // 3, most, most * BEYOND]
    return [(f"{count:,}", count) for count in counts]


def calls_and_results(count: int) -> Iterator[Body]:
    for number in range(count):
        function = {"name": "read", "arguments": json.dumps({"path": f"file{number}"})}
        call = {"id": f"call{number}", "type": "function", "function": function}
        yield {"role": "assistant", "content": None, "tool_calls": [call]}
        yield {"role": "tool", "tool_call_id": f"call{number}", "content": "x" * 80}


def tool(number: int) -> Body:
    properties = {f"p{each}": {"type": "string", "description": "What it is for."} for each in range(10)}
    function = {"name": f"tool{number}", "parameters": {"type": "object", "properties": properties}}
    return {"type": "function", "function": function}


def health_during(
    url: str, spawned: multiprocessing.context.SpawnContext, data: str, token: str, told: Connection | None = None
) -> float:
    """Return the most milliseconds that `/healthz` took while the data was sent and answered."""
    sender = spawned.Process(target=send, args=(url, data, token, told))
    sender.start()
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    slowest = 0.0
    while sender.is_alive():
        began = time.perf_counter()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        slowest = max(slowest, time.perf_counter() - began)
        time.sleep(PAUSE_SECONDS)
    connection.close()
    return round(1000 * slowest, 1)


def send(url: str, data: str, token: str, told: Connection | None) -> None:
    if told is None:
        time.sleep(2)
        return
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=300)
    began = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", data, headers)
    response = connection.getresponse()
    response.read()
    told.send((response.status, round(time.perf_counter() - began, 2)))


if __name__ == "__main__":
    main()
