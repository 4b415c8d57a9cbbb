"""What the executors run: a tool that keeps a diary of its work, so that it can be seen who did what, and when."""

import json
import os
import time
from pathlib import Path

from executor import tool


@tool(read_only=True)
def dig(key: str) -> str:
    """Dig.

    Args:
        key: by which the call is known
    """
    _note("begin", key)
    time.sleep(0.1 + (sum(key.encode()) % 5) / 10)
    output = f"{key} dug by {os.getpid()} at {time.time()}"
    _note("end", key, output)
    return output


def _note(what: str, key: str, output: str = "") -> None:
    line = json.dumps({"what": what, "key": key, "pid": os.getpid(), "output": output})
    with Path(os.environ["SCHEDULES_DIARY"]).open("a") as diary:
        diary.write(line + "\n")
