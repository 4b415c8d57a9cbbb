"""Who runs calls when someone chats with the Dify app itself.

registry   the workers that are there, their tools, and under which names a model is offered them; who may have a call
leases     a worker's claim on a call, for a while, and which call it gets
dify_tools the tools of Dify, as executors inside the bridge
mcp_calls  calls of MCP clients                  trials    chats of somebody at the page
runs       runs that Dify began                  resuming  a suspended one of them goes on: its question is asked again
"""
