"""Runs the scripted upstream: `python -m demo.scripted --host 127.0.0.1 --port 0 [--api-key KEY] [--ready-file PATH]`.

When it listens, it writes one JSON line, `{"base_url", "log_url", "pid"}`, to the ready file, or else to its output.
It ends on SIGTERM and SIGINT.
"""

import argparse
import json
import os
import signal
import sys
from pathlib import Path

import gevent
from gevent.pywsgi import WSGIServer

from demo.scripted.server import create_server


def main() -> None:
    """The command."""
    options = _read_options()
    server = create_server(options.host, options.port, options.api_key)
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, server.stop, 0)
    server.start()
    _announce(server, options.ready_file)
    server.serve_forever()


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        f"python -m {__package__}", description="A strict, scripted OpenAI-compatible upstream."
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, default=0, help="the port to listen on; 0 takes a free one")
    parser.add_argument(
        "--api-key",
        default=os.environ.get("SCRIPTED_API_KEY"),
        help="the key that requests must bring; none is asked for without it (SCRIPTED_API_KEY does the same)",
    )
    parser.add_argument("--ready-file", type=Path, help="where to write the address, instead of the output")
    return parser.parse_args()


def _announce(server: WSGIServer, ready_file: Path | None) -> None:
    root = f"http://{server.server_host}:{server.server_port}"
    line = json.dumps({"base_url": f"{root}/v1", "log_url": f"{root}/log", "pid": os.getpid()}) + "\n"
    if ready_file is None:
        sys.stdout.write(line)
        sys.stdout.flush()
        return
    # In one step, so that nobody reads half of it.
    unfinished = ready_file.with_name(f"{ready_file.name}.{os.getpid()}")
    unfinished.write_text(line)
    unfinished.replace(ready_file)


if __name__ == "__main__":
    main()
