"""Turns at once through one bridge process: `python -m bench.concurrent_turns [--turns 200] [--app minimal]`.

Each turn is a session of its own that asks for two rounds of tools with results that nobody else has. Prints one JSON
line: how many turns ended right, how many were mixed up, and the time and memory of each process.
"""

import argparse
import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from demo.client import Client, ClientError
from demo.local_tools import LocalTools
from demo.service import children
from demo.stack import EXAMPLES, Stack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--app", choices=EXAMPLES, default="minimal")
    options = parser.parse_args()
    # The box takes as many streams as there are; a Dify with its default settings takes ten.
    limits = {"dify_streams": options.turns}
    with tempfile.TemporaryDirectory() as name, Stack(Path(name), apps=[options.app], bridge_settings=limits) as stack:
        before = memory(stack)
        began = time.monotonic()
        with ThreadPoolExecutor(options.turns) as pool:
            answers = list(pool.map(lambda number: turn(stack, options.app, number), range(options.turns)))
        seconds = time.monotonic() - began
        result = {
            "turns": options.turns,
            "right": sum(answer is None for answer in answers),
            "wrong": [answer for answer in answers if answer][:5],
            "seconds": round(seconds, 1),
            "memory_mb": {"before": before, "after": memory(stack)},
        }
    print(json.dumps(result))


def turn(stack: Stack, app: str, number: int) -> str | None:
    """Play one turn and say what was wrong with it."""
    folder = stack.folder / f"turn{number}"
    folder.mkdir()
    word = f"secret-{number}-{number * 7919 % 10007}"
    (folder / "word.txt").write_text(word)
    client = Client(stack.base_url, stack.client_token, app, LocalTools(folder), session=f"turn-{number}")
    prompt = "\n".join(
        [
            f"Turn {number}.",
            '!call read {"path": "word.txt"}',
            '!call exec {"command": "sleep 0.5; cat word.txt"}',
            "!then",
            '!call exec {"command": "tr a-z A-Z < word.txt"}',
        ]
    )
    try:
        outcome = client.ask(prompt)
    except ClientError as error:
        return f"turn {number}: {error}"
    finally:
        client.close()
    results = [message["content"] for message in client.messages if message["role"] == "tool"]
    if results != [word, word, word.upper()] or word.upper() not in outcome.reply.text or len(outcome.runs) != 1:
        return f"turn {number}: {results} {outcome}"
    return None


def memory(stack: Stack) -> dict[str, Any]:
    """Return the resident megabytes of each part, its workers and the plugin process included."""
    parts = {"bridge": stack.bridge, "box": stack.box, "scripted": stack.scripted}
    sizes = {name: sum(rss(pid) for pid in (part.pid, *children(part.pid))) for name, part in parts.items() if part}
    return {name: round(size / 1024) for name, size in sizes.items()}


def rss(pid: int) -> int:
    """Return a process's resident kilobytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0


if __name__ == "__main__":
    main()
