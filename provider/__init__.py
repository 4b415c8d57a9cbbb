"""The Dify model provider: everything that runs inside Dify's plugin daemon.

clawback         the provider as Dify knows it
models/llm       the language model as Dify knows it: a thin shell
schema           a model's schema as Dify wants it
sdk_errors       our errors as the SDK's

credentials      what the forms hold
headers          extra headers as people write them
certificates     certificates as they arrive from a form
vendors          upstreams that people use, and where each differs from OpenAI
settings         what a node sets, with the defaults
validation       whether upstream and bridge answer, and which field to change
probe            finds out what a model can do
capabilities     what is taken for true of a model

node             one call of a node, from what Dify passes to what it gets back
invocation       runs the engine: does what it asks for, tells it what came of it
engine           one invocation as a state machine without I/O
events           what happens to the engine, and what it wants done
modes            how tools and calls are expressed to a model
rounds           one round: its calls sorted, its messages written
carried          the client's rounds between two calls of the tools that Dify itself runs
drafts           calls that are still being written
draft_sender     tells the bridge of them
prompt           Dify's prompt messages in OpenAI's form
request          the upstream request in our own terms
thinking         a model's reasoning, as Dify shows it
tokens           an estimate, for upstreams that do not count
retries          when to try again
errors           all errors, and how secrets stay out of them
failures         what an upstream's refusal means
context_limits   how upstreams say that a prompt is too long
tool_refusals    how upstreams say that a model knows no tools

dialect          how one upstream wants a request
thinking_switch  how reasoning is switched on and off
media            images, sound, films and documents as an upstream wants them
refused_fields   what an upstream refuses and a request can do without
upstream         the upstream over HTTP
patience         how long an answer may keep silent
sse              server-sent events from bytes
completion       what the upstream says, from server-sent events
think_tags       reasoning that a model writes into its answer
bridge_client    the bridge over HTTP
connections      the connections that all invocations share

The first four alone import Dify's SDK: the SDK patches the whole process when imported.
"""
