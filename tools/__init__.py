"""The tool-calling vocabulary that the provider and the bridge share. Pure: no I/O.

definitions   what a tool is: name, description, JSON schema
ids           identifiers that survive every client
names         names that every upstream takes, and the way back
schemas       schemas that strict upstreams take
arguments     arguments that fit their schema, or what is wrong with them
json_repair   JSON that is almost right
choices       which tools a model may, must or must not call
calls         what a model asks for, assembled from streamed deltas
json_depth    how deep a value may be
json_prefix   how far arguments that are still being written are sound
results       what comes back
shorten       what a model is given of a result that is too long
run_states    the states of a run
ticket_states where a ticket and its calls stand, and what may happen to them
carried       what a model wants back with its messages, unread
surrogates    halves of surrogate pairs, which no text can hold
transcript    a conversation in OpenAI's form: repaired, and merged with a node's own prompt
marker        how a run is named inside text, and taken out again
fingerprint   how an invocation is recognised when its workflow runs again
wire          what the plugin and the bridge say to each other
openclaw_text tool calls as text
sse           a byte stream as server-sent events
think_tags    reasoning that stands in tags before an answer
schema_walk, linear_patterns, pattern_syntax   how far a schema is followed, and which patterns are safe to try

tokens, logs, visible   digests of bearer tokens, the form of log lines, and what a terminal may be shown
"""
