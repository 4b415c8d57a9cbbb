"""A node's memory: the conversation's earlier turns as plain user and assistant messages.

Source: core/memory/token_buffer_memory.py. Only the newest message is left out when it has no answer yet, because that
is the turn being answered. An earlier turn that failed stays: its query without an answer.
"""

from collections.abc import Callable, Sequence
from typing import override

from graphon.model_runtime.entities.message_entities import AssistantPromptMessage, PromptMessage, UserPromptMessage
from graphon.model_runtime.memory import PromptMessageMemory

from demo.box.store import Message, thread

MOST_MESSAGES = 500


class ConversationMemory(PromptMessageMemory):
    """The memory of one conversation.

    `messages` gives the conversation's messages, oldest first; `count_tokens` is the model's counter.
    Differs from Dify: files of earlier turns are not part of it, since the box takes no uploads.
    """

    def __init__(
        self, messages: Callable[[], list[Message]], count_tokens: Callable[[Sequence[PromptMessage]], int]
    ) -> None:
        self._messages = messages
        self._count_tokens = count_tokens

    @override
    def get_history_prompt_messages(
        self, max_token_limit: int = 2000, message_limit: int | None = None
    ) -> Sequence[PromptMessage]:
        """The newest `message_limit` turns that fit into `max_token_limit`, oldest first."""
        most = min(message_limit, MOST_MESSAGES) if message_limit and message_limit > 0 else MOST_MESSAGES
        newest_first = thread(self._messages()[::-1][:most])
        if newest_first and not newest_first[0].answer and newest_first[0].answer_tokens == 0:
            newest_first.pop(0)
        history: list[PromptMessage] = []
        for message in reversed(newest_first):
            history += [UserPromptMessage(content=message.query), AssistantPromptMessage(content=message.answer)]
        return self._prune(history, max_token_limit)

    def _prune(self, history: list[PromptMessage], max_token_limit: int) -> list[PromptMessage]:
        while len(history) > 1 and self._count_tokens(history) > max_token_limit:
            history.pop(0)
        return history
