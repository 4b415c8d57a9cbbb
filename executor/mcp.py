"""The tools of an MCP server, through the official SDK: a command of this machine, or a URL."""

import asyncio
import json
import logging
import shlex
from collections.abc import Sequence
from concurrent.futures import Future
from threading import Thread
from typing import Any

from executor.toolbox import LeasedCall, ToolboxError
from tools.calls import arguments_of, arguments_problem
from tools.names import safe_names
from tools.results import ToolResult

try:
    import mcp_types as types
    from mcp import Client, MCPError, StdioServerParameters
except ImportError:  # pragma: no cover - the command says what to install
    Client = None  # type: ignore[assignment,misc]

log = logging.getLogger("clawback.executor")

START_SECONDS = 60.0
CALL_SECONDS = 3600.0
MOST_PAGES = 100


class McpTools:
    """A toolbox of one MCP server. The SDK is asynchronous: it lives in a thread with an event loop of its own."""

    def __init__(self, server: Sequence[str], *, prefix: str = "", environ: dict[str, str] | None = None) -> None:
        if Client is None:
            raise ToolboxError("the MCP SDK is not installed: install clawback[executors]")
        self._server = list(server)
        self._prefix = prefix
        self._environ = environ
        self._definitions: list[dict[str, Any]] = []
        self._names: dict[str, str] = {}
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._client: Any = None
        ready: Future[None] = Future()
        self._thread = Thread(target=self._live, args=(ready,), daemon=True, name="clawback-mcp")
        self._thread.start()
        try:
            ready.result(START_SECONDS)
        except TimeoutError:
            self.close()
            raise ToolboxError(f"{self._described} did not answer within {START_SECONDS:g} s") from None

    @property
    def _is_url(self) -> bool:
        return len(self._server) == 1 and self._server[0].startswith(("http://", "https://"))

    @property
    def _described(self) -> str:
        return f"the MCP server {self._server[0] if self._is_url else shlex.join(self._server)}"

    def _live(self, ready: "Future[None]") -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve(ready))
        except BaseException as error:
            if not ready.done():
                ready.set_exception(ToolboxError(f"{self._described} cannot be used: {_reason(error)}"))
            else:
                log.error("%s is gone: %s", self._described, _reason(error))
        finally:
            self._loop.close()

    async def _serve(self, ready: "Future[None]") -> None:
        target: Any = self._server[0]
        if not self._is_url:
            target = StdioServerParameters(command=self._server[0], args=self._server[1:], env=self._environ)
        async with Client(target, message_handler=self._heard, cache=None) as client:
            self._client = client
            await self._refresh()
            ready.set_result(None)
            await self._closing.wait()

    async def _heard(self, message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self._loop.create_task(self._refresh())

    async def _refresh(self) -> None:
        cursor = None
        found: list[Any] = []
        for _ in range(MOST_PAGES):
            page = await self._client.list_tools(cursor=cursor)
            found.extend(page.tools)
            cursor = page.next_cursor
            if not cursor:
                break
        shown = safe_names(f"{self._prefix}{each.name}" for each in found)
        self._names = {shown[f"{self._prefix}{each.name}"]: each.name for each in found}
        self._definitions = [self._definition(each, shown[f"{self._prefix}{each.name}"]) for each in found]

    @staticmethod
    def _definition(found: Any, name: str) -> dict[str, Any]:
        function = {
            "name": name,
            "description": found.description or found.title or "",
            "parameters": found.input_schema,
        }
        read_only = bool(found.annotations and found.annotations.read_only_hint)
        return {"type": "function", "function": function, "read_only": read_only}

    def definitions(self) -> list[dict[str, Any]]:
        """Return the server's tools as it last listed them."""
        return self._definitions

    def run(self, call: LeasedCall) -> ToolResult:
        """Have the server run a call."""
        if not self._thread.is_alive():
            raise ToolboxError(f"{self._described} is gone; start the executor again")
        arguments = arguments_of(call.arguments)
        if arguments is None:
            return call.result(f"Error: {arguments_problem(call.arguments)}", is_error=True)
        name = self._names.get(call.name)
        if name is None:
            return call.result(f"Error: there is no tool {call.name}", is_error=True)
        asked = self._client.call_tool(name, arguments, read_timeout_seconds=CALL_SECONDS)
        try:
            outcome = asyncio.run_coroutine_threadsafe(asked, self._loop).result(CALL_SECONDS)
        except MCPError as error:
            return call.result(f"Error: {error}", is_error=True)
        return call.result(_parts(outcome), is_error=bool(outcome.is_error))

    def close(self) -> None:
        """End the server."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join(10)


def _parts(outcome: Any) -> Any:
    """Return what the server sent as content parts; what is neither text nor image is told in words."""
    parts: list[dict[str, Any]] = []
    for content in outcome.content:
        match content.type:
            case "text":
                parts.append({"type": "text", "text": content.text})
            case "image":
                url = f"data:{content.mime_type};base64,{content.data}"
                parts.append({"type": "image_url", "image_url": {"url": url}})
            case "resource" if hasattr(content.resource, "text"):
                parts.append({"type": "text", "text": content.resource.text})
            case _:
                where = getattr(content, "uri", "")
                parts.append({"type": "text", "text": f"({content.type} {where})".replace(" )", ")")})
    if not parts and outcome.structured_content is not None:
        return json.dumps(outcome.structured_content, ensure_ascii=False)
    return parts or "(no output)"


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
