"""How a run is named inside text, and taken out again.

Dify tells a model plugin neither the conversation nor the API caller. Where the end user's id does not help, the
bridge writes the run's marker into the query or an input variable, and the plugin strips it before anything goes
upstream.
"""

import re

_MARKER = re.compile(r"\s?\[\[clawback:([0-9a-z]{8,40})\]\]")


def marker_for(run_id: str) -> str:
    """Return the text that names the run."""
    return f"[[clawback:{run_id}]]"


def find_marker(text: str) -> str | None:
    """Return the run id of the last marker in `text`, if there is one."""
    found = _MARKER.findall(text)
    return found[-1] if found else None


def strip_markers(text: str) -> str:
    """Return `text` without any marker, and without the one white space before it."""
    return _MARKER.sub("", text)
