"""One invocation of a node, from what Dify passes to what it gets back.

engine          the state machine, without I/O       events   what happens to it, and what it wants done
invocation      runs it
prompt          Dify's prompt messages in OpenAI's form
rounds          one round: its calls sorted, its messages written
pending_rounds  the client's rounds between two calls of the tools that Dify itself runs
response        whether it does what was asked; its reasoning and tokens, as Dify wants them
drafts          calls that are still being written
model_calls     what the bridge is told of calls of the model
"""
