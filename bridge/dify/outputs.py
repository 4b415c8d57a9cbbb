"""The answer among a workflow run's outputs."""

import json
from collections.abc import Mapping
from typing import Any

from bridge.dify.events import files_in

_LIKELY = ("answer", "text", "output", "result")


def answer_in(outputs: Mapping[str, Any], name: str | None = None) -> str:
    """Return the output called `name`, else the one that is the answer by its name, else the only one, else all.

    Files are none: they are told as links.
    """
    outputs = {each: value for each, value in outputs.items() if not any(files_in(value))}
    if name is not None:
        return _text(outputs.get(name))
    likely = next((outputs[each] for each in _LIKELY if isinstance(outputs.get(each), str)), None)
    if likely is not None:
        return str(likely)
    return _text(next(iter(outputs.values()))) if len(outputs) == 1 else _text(dict(outputs) or None)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
