"""What the plugin costs beside Dify's official OpenAI-compatible one: `python -m bench.official_plugin FOLDER PYTHON`.

FOLDER is `models/openai_api_compatible` of a copy of github.com/langgenius/dify-official-plugins, and PYTHON that of an
environment with what it needs, best the same dify_plugin as here. Each plugin runs in its own process as Dify's daemon
starts it, and asks the same scripted upstream for the same answers, by turns: long ones that come at once or a piece at
a time, and short ones. Ours is asked without callbacks, and with them beside a small bridge that serves a run. Prints a
JSON line for each answer: the processor's time per delta, or per invocation where the answer is short, and the time to
the first text, each the median of the rounds, and how many times the official plugin's that is.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.box.plugin_process import PluginProcess
from tests.provider.bridge_server import TOKEN, Bridge, serving
from tests.provider.conftest import run_of

ROOT = Path(__file__).resolve().parents[1]
KEY = "sk-bench"


@dataclass(frozen=True)
class Answer:
    """`deltas` pieces of `size` characters, each `pause` seconds after the one before; asked for `times` a round."""

    name: str
    deltas: int
    size: int
    times: int = 1
    pause: float = 0.0

    @property
    def script(self) -> str:
        if not self.pause:
            return f"!delta {self.size}\n!say {'word' * (self.deltas * self.size // 4)}"
        lines = [f"!say {'w' * (self.size - 1)}\n!sleep {self.pause}"] * self.deltas
        return f"!delta {self.size}\n" + "\n".join(lines)


ANSWERS = (
    Answer("2,000 deltas of 4 characters", 2000, 4),
    Answer("200 deltas of 40 characters", 200, 40, times=5),
    Answer("500 deltas of 4 characters, one at a time", 500, 4, pause=0.003),
    Answer("a short answer", 3, 4, times=40),
)

Ask = Callable[[str], Iterator[dict[str, Any]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("python")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    command = [sys.executable, "-m", "demo.scripted", "--api-key", KEY]
    with (
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as upstream,
        serving(Bridge()) as bridge,
        started(PluginProcess(options.folder.resolve(), python=options.python)) as official,
        started(PluginProcess(ROOT)) as ours,
    ):
        assert upstream.stdout
        url = json.loads(upstream.stdout.readline())["base_url"]
        theirs = {**OFFICIAL_FORM, "endpoint_url": url}
        sides: dict[str, tuple[PluginProcess, Ask]] = {
            "official": (official, lambda text: invoked(official, OFFICIAL, theirs, text)),
            "callbacks off": (ours, lambda text: invoked(ours, OURS, form(url, bridge), text)),
            "callbacks on": (ours, lambda text: with_callbacks(ours, form(url, bridge), text, bridge)),
        }
        try:
            for answer in ANSWERS:
                print(json.dumps(compared(answer, sides, options.rounds)), flush=True)
        finally:
            upstream.terminate()


@contextmanager
def started(plugin: PluginProcess) -> Iterator[PluginProcess]:
    plugin.start()
    try:
        yield plugin
    finally:
        plugin.stop()


OFFICIAL = {"provider": "openai_api_compatible", "model": "scripted"}
OFFICIAL_FORM = {"api_key": KEY, "mode": "chat", "context_size": "128000", "function_calling_type": "tool_call"}
OURS = {"provider": "clawback", "model": "main"}


def form(url: str, bridge: Bridge) -> dict[str, str]:
    return {
        "upstream_base_url": url,
        "upstream_api_key": KEY,
        "upstream_model": "scripted",
        "bridge_url": bridge.url,
        "bridge_token": TOKEN,
    }


def with_callbacks(
    plugin: PluginProcess, credentials: dict[str, str], text: str, bridge: Bridge
) -> Iterator[dict[str, Any]]:
    bridge.answers["user"] = run_of(text, "read")
    return invoked(plugin, OURS, credentials, text, external_tool_callback_enabled=True)


def invoked(
    plugin: PluginProcess, model: dict[str, str], credentials: dict[str, str], text: str, **parameters: Any
) -> Iterator[dict[str, Any]]:
    """Ask a plugin as Dify's LLM node does."""
    request = {
        "user_id": "user",
        "model_type": "llm",
        **model,
        "credentials": credentials,
        "prompt_messages": [{"role": "user", "content": text}],
        "model_parameters": parameters,
        "tools": None,
        "stop": None,
        "stream": True,
    }
    return plugin.invoke("invoke_llm", request)


def compared(answer: Answer, sides: dict[str, tuple[PluginProcess, Ask]], rounds: int) -> dict[str, Any]:
    for plugin, ask in sides.values():
        measured(answer, plugin, ask)  # what is loaded once
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, (plugin, ask) in sides.items():
            found[name].append(measured(answer, plugin, ask))
    unit, parts = ("invocation", 1) if answer.times > 10 else ("delta", answer.deltas)
    report: dict[str, Any] = {"answer": answer.name}
    for name, times in found.items():
        processor, first = (statistics.median(column) for column in zip(*times, strict=True))
        theirs = [statistics.median(column) for column in zip(*found["official"], strict=True)]
        report[name] = {
            f"processor_us_per_{unit}": round(1e6 * processor / parts, 1),
            "first_text_ms": round(1e3 * first, 1),
            "ratios": [round(processor / theirs[0], 2), round(first / theirs[1], 2)],
        }
    return report


def measured(answer: Answer, plugin: PluginProcess, ask: Ask) -> tuple[float, float]:
    """Return the processor's time of an invocation and the median of the times to its first text, in seconds."""
    before, firsts = processor_seconds(plugin), []
    for _ in range(answer.times):
        began, first, length = time.monotonic(), 0.0, 0
        for chunk in ask(answer.script):
            said = chunk["delta"]["message"]["content"]
            length += len(said)
            first = first or (time.monotonic() - began if said else 0.0)
        if length < answer.deltas * (answer.size - 1):
            raise SystemExit(f"an answer came with {length} characters")
        firsts.append(first)
    return (processor_seconds(plugin) - before) / answer.times, statistics.median(firsts)


def processor_seconds(plugin: PluginProcess) -> float:
    """Return the processor's time that a process has used, to the nanosecond; source: clock_getcpuclockid(3)."""
    assert plugin.pid
    return time.clock_gettime(~plugin.pid << 3 | 2)


if __name__ == "__main__":
    main()
