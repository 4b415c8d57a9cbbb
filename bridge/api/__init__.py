"""HTTP in: who asks, for what, and in which form.

access   which token opens which route: one table        auth   holds each request against it
openai   what clients see: chat completions, responses, models
plugin   the invocations of LLM nodes        plugin_requests   what was seen of them lately, for doctor
executor, tickets   workers near the tools   operator, watch   people who look and decide
health, doctor      whether it lives         openapi           all routes as a document

bodies, json_pieces, sizes, validation   how a body is read      json_answer   how one is written
"""
