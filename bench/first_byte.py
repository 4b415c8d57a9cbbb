"""The first byte of a stream, side by side: `python -m bench.first_byte [--rounds 50]`.

    dify       Dify's service API, called directly (Dify in a box, the minimal app, the real plugin)
    bridge     the same app through the bridge, each time in a new conversation
    session    the same app through the bridge, in a conversation that it knows
    upstream   the scripted upstream, called directly
    litellm    the same upstream through LiteLLM's proxy, as a yardstick of what a proxy costs

Each round asks each of them once. Prints the median and the 95th percentile, in milliseconds, until the first byte of
the body and until the first text of the answer, and what bridge and LiteLLM add to what stands behind them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from demo.stack import ROOT, Stack, free_port

LITELLM = ROOT / ".cache" / "litellm" / "bin" / "litellm"
NEEDED = """\
LiteLLM is not there: it is measured as a yardstick, in an environment of its own. Install it with
  scripts/uv venv --python .venv/bin/python .cache/litellm
  scripts/uv pip install --no-config --python .cache/litellm/bin/python 'litellm[proxy]'
or leave it out with --without-litellm."""
START_SECONDS = 120
WARM_UP = 3
BEHIND = {"bridge": "dify", "session": "dify", "litellm": "upstream"}

Times = tuple[float, float]
Ask = Callable[[str], Times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--without-litellm", action="store_true")
    options = parser.parse_args()
    if not options.without_litellm and not LITELLM.exists():
        sys.exit(NEEDED)
    with tempfile.TemporaryDirectory() as name, Stack(Path(name), apps=["minimal"]) as stack:
        asks = {
            "dify": dify(stack),
            "bridge": endpoint(stack.base_url, stack.client_token, "minimal"),
            "session": endpoint(stack.base_url, stack.client_token, "minimal", prompt_cache_key="bench"),
            "upstream": endpoint(stack.upstream.base_url, stack.upstream.api_key, stack.upstream.model),
        }
        if options.without_litellm:
            measured = measure(asks, options.rounds)
        else:
            with litellm(stack, Path(name)) as base_url:
                asks["litellm"] = endpoint(base_url, "sk-bench", "scripted")
                measured = measure(asks, options.rounds)
    show(measured, options.rounds)


def measure(asks: Mapping[str, Ask], rounds: int) -> dict[str, list[Times]]:
    """Ask each of them in turn; the first rounds only open connections and fill caches."""
    measured: dict[str, list[Times]] = {name: [] for name in asks}
    for number in range(-WARM_UP, rounds):
        for name, ask in asks.items():
            times = ask(f"Round {number} of {name}.\n!say Here is an answer of a few words.")
            if number >= 0:
                measured[name].append(times)
    return measured


def dify(stack: Stack) -> Ask:
    client = httpx.Client(timeout=60, headers={"Authorization": f"Bearer {stack.app_key('minimal')}"})

    def ask(prompt: str) -> Times:
        body = {"query": prompt, "inputs": {}, "user": prompt[:40], "response_mode": "streaming"}
        return timed(client, f"{stack.dify_url}/chat-messages", body, lambda event: bool(event.get("answer")))

    return ask


def endpoint(base_url: str, token: str, model: str, **fields: Any) -> Ask:
    client = httpx.Client(timeout=60, headers={"Authorization": f"Bearer {token}"})

    def has_text(chunk: dict[str, Any]) -> bool:
        return any(choice["delta"].get("content") for choice in chunk["choices"])

    def ask(prompt: str) -> Times:
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], "stream": True, **fields}
        return timed(client, f"{base_url}/chat/completions", body, has_text)

    return ask


def timed(client: httpx.Client, url: str, body: dict[str, Any], has_text: Callable[[dict[str, Any]], bool]) -> Times:
    """Return the milliseconds until the first byte and until the first text. The answer is read to its end."""
    began = time.perf_counter()
    first_byte = first_text = 0.0
    with client.stream("POST", url, json=body) as response:
        if response.status_code != 200:
            raise SystemExit(f"{url}: {response.status_code} {response.read().decode()}")
        for line in response.iter_lines():
            first_byte = first_byte or time.perf_counter()
            data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
            if not first_text and data.startswith("{") and has_text(json.loads(data)):
                first_text = time.perf_counter()
    if not first_text:
        raise SystemExit(f"{url} answered without text")
    return (first_byte - began) * 1000, (first_text - began) * 1000


@contextmanager
def litellm(stack: Stack, folder: Path) -> Iterator[str]:
    """Run LiteLLM's proxy in front of the scripted upstream, as its documentation starts it."""
    port = free_port()
    entry = {
        "model_name": "scripted",
        "litellm_params": {
            "model": f"openai/{stack.upstream.model}",
            "api_base": stack.upstream.base_url,
            "api_key": stack.upstream.api_key,
        },
    }
    config = folder / "litellm.yaml"
    config.write_text(json.dumps({"model_list": [entry], "general_settings": {"master_key": "sk-bench"}}))
    # It needs nothing from the Internet for this.
    environ = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "*"}
    command = [str(LITELLM), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "litellm.log").open("wb") as log:
        process = subprocess.Popen([*command, "--telemetry", "False"], env=environ, stdout=log, stderr=log, cwd=folder)
    try:
        wait_for(f"http://127.0.0.1:{port}/health/liveliness", process, folder / "litellm.log")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(30)


def wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise SystemExit(f"LiteLLM's proxy did not start:\n{log.read_text(errors='replace')[-2000:]}")


def show(measured: Mapping[str, list[Times]], rounds: int) -> None:
    print(f"{rounds} rounds, milliseconds")
    print(f"{'':10}{'first byte':>22}{'first text':>22}")
    print(f"{'':10}{'median':>11}{'p95':>11}{'median':>11}{'p95':>11}")
    medians = {}
    for name, times in measured.items():
        columns = [sorted(column) for column in zip(*times, strict=True)]
        medians[name] = [statistics.median(column) for column in columns]
        figures = [value for column in columns for value in (statistics.median(column), percentile(column, 0.95))]
        print(f"{name:10}" + "".join(f"{figure:11.1f}" for figure in figures))
    for name, behind in BEHIND.items():
        if name in medians:
            added = [ours - theirs for ours, theirs in zip(medians[name], medians[behind], strict=True)]
            ratios = [ours / theirs for ours, theirs in zip(medians[name], medians[behind], strict=True)]
            print(
                f"{name} adds to {behind}: first byte {added[0]:+.1f} ms ({ratios[0]:.2f} times), "
                f"first text {added[1]:+.1f} ms ({ratios[1]:.2f} times)"
            )


def percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


if __name__ == "__main__":
    main()
