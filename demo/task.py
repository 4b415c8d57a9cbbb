"""What the demo asks for: two rounds, one of them with parallel calls, on real files."""

import json
from pathlib import Path

EXAMPLES = ("minimal", "router", "pipeline")
"""The apps in `examples/` that can be asked."""
NOTES = {
    "notes/monday.md": "# Monday\n- [x] water the plants\n- [ ] call the plumber\n- [ ] buy coffee\n",
    "notes/tuesday.md": "# Tuesday\n- [ ] send the invoice\n- [x] back up the laptop\n",
}
REQUEST = "Which points of my notes are still open? Put them into open.md and tell me."
COLLECT = "grep -h '^- \\[ \\]' notes/*.md > open.md && wc -l < open.md"


def prepare(folder: Path) -> None:
    """Write the notes that the task is about."""
    for name, text in NOTES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def scripted_request() -> str:
    """Return the request with the directives that the scripted model follows."""
    first = [f"!call read {json.dumps({'path': name})}" for name in NOTES]
    second = [f"!call exec {json.dumps({'command': COLLECT})}", f"!call read {json.dumps({'path': 'open.md'})}"]
    return "\n".join([REQUEST, *first, "!then", second[0], "!then", second[1]])
