"""The client of Dify's service API.

events   server-sent events (tools.sse) as what happened in a workflow run
errors   everything that can go wrong, and what to change
client   the requests
history  what was said in a user's conversations
apps     what kind of app it is, and what it takes: asked once and kept
failures Dify's errors as what a client is told
outputs  the answer in a workflow's outputs
"""

from bridge.dify.client import AppInfo, AppParameters, DifyClient, InputField, Timeouts

__all__ = ["AppInfo", "AppParameters", "DifyClient", "InputField", "Timeouts"]
