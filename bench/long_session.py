"""A session that grows: `python -m bench.long_session [--turns 500] [--kilobytes 200] [--begin 0]`.

Each turn has one tool round, so two client requests, each with the whole transcript, which has `--kilobytes` at the
end. With `--begin N` the first N turns are only said to have been. Prints a JSON line for every tenth part: the turns
so far, the transcript's bytes, the bridge's CPU milliseconds per turn, and how many bytes its store has.
"""

import argparse
import json
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from bench.turn import cpu
from demo.client import Client
from demo.local_tools import LocalTools
from demo.stack import Stack

APP = "minimal"
WARM_UP = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=500)
    parser.add_argument("--kilobytes", type=int, default=200)
    parser.add_argument("--begin", type=int, default=0)
    options = parser.parse_args()
    words = "word " * (options.kilobytes * 1024 // options.turns // 10)
    with tempfile.TemporaryDirectory() as name, Stack(Path(name), apps=[APP]) as stack:
        warm(stack)
        client = Client(stack.base_url, stack.client_token, APP, LocalTools(stack.folder), session="long")
        for number in range(options.begin):
            client.messages += [
                {"role": "user", "content": f"Turn {number}. {words}"},
                {"role": "assistant", "content": f"{number} {words}"},
            ]
        used = cpu(stack)["bridge"]
        part = max(1, (options.turns - options.begin) // 10)
        for number in range(options.begin, options.turns):
            ask(client, number, words)
            if (number + 1 - options.begin) % part == 0:
                before, used = used, cpu(stack)["bridge"]
                figures = {"turns": number + 1, "transcript": len(json.dumps(client.messages))}
                spent = {"bridge_ms": round(1000 * (used - before) / part, 1), "store_bytes": stored(stack)}
                print(json.dumps(figures | spent), flush=True)
        client.close()


def ask(client: Client, number: int, words: str) -> None:
    outcome = client.ask(
        f'Turn {number}. {words}\n!call exec {{"command": "echo {number}"}}\n!then\n!say {number} {words}'
    )
    if outcome.http_requests != 2:
        raise SystemExit(f"turn {number} took {outcome.http_requests} requests: {outcome.reply.text}")


def warm(stack: Stack) -> None:
    for number in range(WARM_UP):
        client = Client(stack.base_url, stack.client_token, APP, LocalTools(stack.folder), session=f"warm-{number}")
        ask(client, number, "")
        client.close()


def stored(stack: Stack) -> int:
    """Return the bytes of the store, what stands in its log included."""
    with closing(sqlite3.connect(stack.store_url.removeprefix("sqlite:///"))) as store:
        pages, size = (store.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return int(pages * size)


if __name__ == "__main__":
    main()
