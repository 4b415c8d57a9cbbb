"""The demo's turn over and over: `python -m bench.looping_demo [--minutes 120] [--every 2]`.

Each turn is a session of its own, so that nothing may be kept for the next one. Between the turns the resident memory
of the bridge and of the plugin's process is read, and the bridge is asked for its page and whether it is ready. Prints
a table, one row each `--sample` seconds, then the slope of each column in MiB an hour by least squares over the second
half, when caches are full, and one JSON line with all of it.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from demo import task
from demo.client import Client
from demo.local_tools import LocalTools
from demo.service import children
from demo.stack import Stack

MIB = 1024 * 1024
COLUMNS = ("minutes", "turns", "turn s", "bridge", "plugin", "store", "page", "page s", "ready")


@dataclass(frozen=True)
class Sample:
    minutes: float
    turns: int
    turn_seconds: float
    bridge: float
    plugin: float
    store: float
    page: int
    page_seconds: float
    ready: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--every", type=float, default=2, help="seconds from one turn's beginning to the next")
    parser.add_argument("--sample", type=float, default=60, help="seconds from one row to the next")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clawback-loop-") as name, Stack(Path(name), apps=["minimal"]) as stack:
        samples = loop(stack, options.minutes * 60, options.every, options.sample)
    half = samples[len(samples) // 2 :]
    slopes = {part: round(slope(half, part), 2) for part in ("bridge", "plugin", "store")}
    print(f"\nslope over the last {half[-1].minutes - half[0].minutes:.0f} minutes, MiB an hour: {slopes}")
    print(
        json.dumps(
            {
                "minutes": round(samples[-1].minutes, 1),
                "turns": samples[-1].turns,
                "rss_mib": {
                    part: [round(getattr(each, part), 1) for each in (samples[0], half[0], samples[-1])]
                    for part in ("bridge", "plugin")
                },
                "slope_mib_per_hour": slopes,
                "page_answers": sorted({each.page for each in samples}),
                "slowest_page_seconds": round(max(each.page_seconds for each in samples), 3),
                "always_ready": all(each.ready == 200 for each in samples),
            }
        )
    )


def loop(stack: Stack, seconds: float, every: float, sample_every: float) -> list[Sample]:
    workspace = stack.folder / "workspace"
    task.prepare(workspace)
    began = time.monotonic()
    samples: list[Sample] = []
    turns, next_sample = 0, 0.0
    print("".join(f"{name:>8}" for name in COLUMNS))
    while (now := time.monotonic() - began) < seconds:
        took = turn(stack, workspace, turns)
        turns += 1
        if now >= next_sample:
            next_sample = now + sample_every
            samples.append(look(stack, now / 60, turns, took))
            tell(samples[-1])
        time.sleep(max(0.0, every - took))
    samples.append(look(stack, (time.monotonic() - began) / 60, turns, took))
    tell(samples[-1])
    return samples


def turn(stack: Stack, workspace: Path, number: int) -> float:
    """Play the demo's turn; return how many seconds it took."""
    began = time.monotonic()
    client = Client(stack.base_url, stack.client_token, "minimal", LocalTools(workspace), session=f"loop-{number}")
    try:
        outcome = client.ask(task.scripted_request())
    finally:
        client.close()
    if outcome.http_requests != 4 or not outcome.reply.text:
        raise SystemExit(f"turn {number} went wrong: {outcome}")
    return time.monotonic() - began


def look(stack: Stack, minutes: float, turns: int, took: float) -> Sample:
    began = time.monotonic()
    page = httpx.get(f"{stack.bridge_url}/", timeout=30)
    page_seconds = time.monotonic() - began
    ready = httpx.get(f"{stack.bridge_url}/readyz", timeout=30)
    bridge = sum(map(resident, [stack.bridge.pid, *children(stack.bridge.pid)]))
    plugin = resident(int(stack.box.ready["plugin"]["pid"]))
    store = sum(path.stat().st_size for path in (stack.folder / "bridge").iterdir() if path.is_file()) / MIB
    return Sample(minutes, turns, took, bridge, plugin, store, page.status_code, page_seconds, ready.status_code)


def resident(pid: int) -> float:
    """Return the process's resident memory in MiB (Linux)."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024 / MIB


def tell(each: Sample) -> None:
    print(
        f"{each.minutes:8.1f}{each.turns:8d}{each.turn_seconds:8.2f}{each.bridge:8.1f}{each.plugin:8.1f}{each.store:8.1f}"
        f"{each.page:8d}{each.page_seconds:8.3f}{each.ready:8d}",
        flush=True,
    )


def slope(samples: Sequence[Sample], part: str) -> float:
    """Return the slope of a column in units an hour, by least squares."""
    hours = [each.minutes / 60 for each in samples]
    values = [getattr(each, part) for each in samples]
    mid_x, mid_y = sum(hours) / len(hours), sum(values) / len(values)
    spread = sum((x - mid_x) ** 2 for x in hours)
    return sum((x - mid_x) * (y - mid_y) for x, y in zip(hours, values, strict=True)) / spread if spread else 0.0


if __name__ == "__main__":
    main()
