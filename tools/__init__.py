"""The tool-calling vocabulary that the provider and the bridge share. Pure: no I/O.

definitions   what a tool is: name, description, JSON schema
choices       which tools a model may, must or must not call
calls         what a model asks for, assembled from streamed deltas
json_prefix   how far arguments that are still being written are sound
results       what comes back
transcript    a conversation in OpenAI's form: repaired, and merged with a node's own prompt
marker        how a run is named inside text, and taken out again
fingerprint   how an invocation is recognised when its workflow runs again
wire          what the plugin and the bridge say to each other
openclaw_text tool calls as text
"""
