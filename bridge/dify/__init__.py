"""The client of Dify's service API.

client   the requests, and what was said in a user's conversations
events   what streams back (server-sent events by tools.sse), and the answer in a workflow's outputs
errors   everything that can go wrong, and what to change        failures  the same as what a client is told
apps     what kind of app it is, and what it takes: asked once and kept
forms    the forms of Human Input nodes
tools    the tools of a workspace, through Clawback Tools         console   their types, which the console knows
"""

from bridge.dify.client import AppInfo, AppParameters, DifyClient, InputField, Timeouts

__all__ = ["AppInfo", "AppParameters", "DifyClient", "InputField", "Timeouts"]
