"""Executors: workers near the tools, which run the calls of Dify apps.

connection      the bridge's executor API, as a client
worker          the loop: claim, run, keep the lease, post the result
toolbox         what a worker needs of its tools
python          functions as tools
mcp             an MCP server's tools
openclaw        the tools of a running OpenClaw, through openclaw_model
openclaw_model  the model `clawback-hands`: its answers are the calls that OpenClaw is to run
command         `clawback executor`
"""

from executor.python import tool

__all__ = ["tool"]
