"""The Dify model provider: everything that runs inside Dify's plugin daemon.

clawback       the provider as Dify knows it
models/llm     the language model as Dify knows it: a thin shell
sdk_errors     our errors as the SDK's
credentials    what the forms hold
settings       what a node sets, with the defaults
validation     whether upstream and bridge answer, and which field to change

invocation     runs the engine: does what it asks for, tells it what came of it
engine         one invocation as a state machine without I/O
events         what happens to the engine, and what it wants done
modes          how tools and calls are expressed to a model
rounds         one round: its calls sorted, its messages written
prompt         Dify's prompt messages in OpenAI's form
request        the upstream request
thinking       a model's reasoning, as Dify shows it
tokens         an estimate, for upstreams that do not count
retries        when to try again
errors         all errors, and how secrets stay out of them
failures       what an upstream's refusal means

upstream       the upstream over HTTP
sse            server-sent events from bytes
completion     what the upstream says, from server-sent events
bridge_client  the bridge over HTTP
connections    the connections that all invocations share

The first three alone import Dify's SDK: the SDK patches the whole process when imported.
"""
