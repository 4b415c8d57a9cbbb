"""How fast the plugin starts and what it weighs while it waits: `python -m bench.plugin_process [--invocations 500]`.

The plugin's process is started as Dify's daemon starts it, with a compiled environment; start is the time from its
launch to its first heartbeat, the best and the median of several, and the processor's time of the best, which a busy
machine does not lengthen. Then so many invocations open a ticket each and wait, all begun at the same time, against a
scripted upstream and a small bridge that holds every poll. Memory is the process's resident set, and what one of them
weighs what it grew by since a first one was done, which loads what a process loads once. Prints a JSON line.
"""

import argparse
import compileall
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from demo.box.plugin_process import PluginProcess
from tests.provider.bridge_server import TOKEN, Bridge, serving
from tests.provider.conftest import run_of

ROOT = Path(__file__).resolve().parents[1]
KEY = "sk-bench"
SCRIPT = '!call read {"path": "a"}\n!then\n!say Done.'
PATIENCE_SECONDS = 300.0
BEAT_SECONDS = 30.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--invocations", type=int, default=500)
    parser.add_argument("--starts", type=int, default=5)
    options = parser.parse_args()
    for folder in ("provider", "tools"):
        compileall.compile_dir(ROOT / folder, quiet=1)
    starts = [start_seconds() for _ in range(options.starts)]
    elapsed = [seconds for seconds, _ in starts]
    report = {
        "start_seconds": round(min(elapsed), 2),
        "start_median": round(statistics.median(elapsed), 2),
        "start_processor_seconds": round(min(processor for _, processor in starts), 2),
    }
    print(json.dumps(report | waiting(options.invocations)))


def start_seconds() -> tuple[float, float]:
    """Return how long a start takes, and how much of the processor's time."""
    plugin = PluginProcess(ROOT)
    began = time.monotonic()
    plugin.start()
    seconds = time.monotonic() - began
    # Fields 14 and 15, behind the name in parentheses; source: proc_pid_stat(5).
    fields = Path(f"/proc/{plugin.pid}/stat").read_text().rpartition(")")[2].split()
    plugin.stop()
    return seconds, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def waiting(count: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "demo.scripted", "--api-key", KEY]
    plugin = PluginProcess(ROOT)
    with (
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as upstream,
        serving(Bridge()) as bridge,
    ):
        try:
            assert upstream.stdout
            url = json.loads(upstream.stdout.readline())["base_url"]
            plugin.start()
            idle = resident(plugin)
            first = start(plugin, bridge, url, 0)
            bridge.settle(bridge.wait_ticket(), outputs=["A"])
            first.join(PATIENCE_SECONDS)
            loaded = resident(plugin)
            threads = [start(plugin, bridge, url, number) for number in range(1, count + 1)]
            tickets = list(bridge.wait_for("tickets", count + 1, PATIENCE_SECONDS).values())[1:]
            held = resident(plugin)
            for ticket in tickets:
                bridge.settle(ticket, outputs=["A"])
            for thread in threads:
                thread.join(PATIENCE_SECONDS)
            done = len(bridge.wait_for("records", count + 1, PATIENCE_SECONDS)) - 1
        finally:
            plugin.stop()
            upstream.terminate()
    each = round(1000 * (held - loaded) / count, 1)
    memory = {"idle_mb": idle, "loaded_mb": loaded, "waiting_mb": held, "kilobytes_each": each}
    return {"invocations": count, **memory, "finished": done}


def start(plugin: PluginProcess, bridge: Bridge, url: str, number: int) -> threading.Thread:
    user = f"user{number}"
    bridge.answers[user] = run_of(SCRIPT, "read").model_copy(update={"beat_seconds": BEAT_SECONDS})
    request = {
        "user_id": user,
        "provider": "clawback",
        "model_type": "llm",
        "model": "main",
        "credentials": {
            "upstream_base_url": url,
            "upstream_api_key": KEY,
            "upstream_model": "scripted",
            "bridge_url": bridge.url,
            "bridge_token": TOKEN,
        },
        "prompt_messages": [{"role": "user", "content": SCRIPT}],
        "model_parameters": {"external_tool_callback_enabled": True},
        "tools": None,
        "stop": None,
        "stream": True,
    }
    thread = threading.Thread(target=lambda: list(plugin.invoke("invoke_llm", request)), daemon=True)
    thread.start()
    return thread


def resident(plugin: PluginProcess) -> float:
    """Return the process's resident set in MB."""
    pages = int(Path(f"/proc/{plugin.pid}/statm").read_text().split()[1])
    return round(pages * 4096 / 1e6, 1)


if __name__ == "__main__":
    main()
