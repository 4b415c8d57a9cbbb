"""Who runs calls when someone chats with the Dify app itself.

registry   the workers that are there, their tools, and under which names a model is offered them
routing    which of them may have a call         handout   which of them gets it now
leases     a worker's claim on a call, for a while
dify_tools the tools of Dify, as executors inside the bridge
mcp_calls  calls of MCP clients                  trials    chats of somebody at the page
runs       runs that Dify began                  resuming  a suspended one goes on here: its question is asked again
"""
