"""The MCP server that MCP's conformance suite wants to find behind whatever it probes: `python -m` this module.

Source of the tools: @modelcontextprotocol/conformance. All only read, so that nobody is asked before they run.
"""

import asyncio
from typing import Any

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
PLAIN: dict[str, Any] = {"type": "object", "properties": {}}
ADDRESS = {"type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}
SCHEMAS = {
    "test_simple_text": PLAIN,
    "test_image_content": PLAIN,
    "test_error_handling": PLAIN,
    "test_tool_with_progress": PLAIN,
    "json_schema_2020_12_tool": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": {"address": ADDRESS},
        "type": "object",
        "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
        "additionalProperties": False,
    },
}
LONG_SECONDS = 4.5
"""Long enough for the three notifications that the suite wants: the bridge tells of a call about once per second."""


async def list_tools(*_: Any) -> types.ListToolsResult:
    """Return the tools."""
    reads = types.ToolAnnotations(read_only_hint=True)
    return types.ListToolsResult(
        tools=[
            types.Tool(name=name, description="For the suite.", input_schema=schema, annotations=reads)
            for name, schema in SCHEMAS.items()
        ]
    )


async def call_tool(_: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    """Do what the suite expects of each."""
    if params.name == "test_tool_with_progress":
        await asyncio.sleep(LONG_SECONDS)
    if params.name == "test_image_content":
        return types.CallToolResult(content=[types.ImageContent(data=PIXEL, mime_type="image/png")])
    said = types.TextContent(text="This is a simple text response for testing.")
    return types.CallToolResult(content=[said], is_error=params.name == "test_error_handling")


async def serve() -> None:
    """Serve over standard input and output."""
    server: Server[Any] = Server("conformance", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


if __name__ == "__main__":
    asyncio.run(serve())
