"""What the service API says about a turn of a chat or agent app, whose model is called without a workflow.

Source: core/app/task_pipeline/easy_ui_based_generate_task_pipeline.py.
"""

from collections.abc import Iterable, Iterator
from typing import override

from demo.box.listener import Item
from demo.box.pipeline import ChatPipeline
from demo.box.responses import Response
from demo.box.store import new_id
from demo.box.topic import Event

_HEARD = {"message", "agent_message", "agent_thought", "message_end", "error", "ping"}


class BasicPipeline(ChatPipeline):
    """A chat app's events: messages and the end of the message."""

    last_events = ("message_end", "error")

    @override
    def events(self, items: Iterable[Item]) -> Iterator[Event]:
        for event in super().events(items):
            if isinstance(event, str) or event["event"] in _HEARD:
                yield event

    @override
    def _text(self, text: str, selector: list[str]) -> Response:
        return {**super()._text(text, selector), "from_variable_selector": None}


class AgentPipeline(BasicPipeline):
    """An agent app's events: what it says comes as `agent_message`, and again in the thought of its step."""

    _thought_id = ""

    @override
    def events(self, items: Iterable[Item]) -> Iterator[Event]:
        for event in super().events(items):
            kind = event if isinstance(event, str) else event["event"]
            if kind == "agent_message" and not self._thought_id:
                self._thought_id = new_id()
                yield self._thought("")
            if kind == "message_end":
                yield self._thought(self._answer)
            yield event

    @override
    def _text(self, text: str, selector: list[str]) -> Response:
        told = super()._text(text, selector)
        del told["from_variable_selector"]
        return {**told, "event": "agent_message"}

    def _thought(self, thought: str) -> Response:
        told = {"id": self._thought_id, "position": 1, "thought": thought, "observation": ""}
        tool = {"tool": "", "tool_labels": {}, "tool_input": "", "message_files": []}
        return self._framed({"event": "agent_thought", "task_id": self._task_id, **told, **tool})
