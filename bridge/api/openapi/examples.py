"""A body of each kind, as one would send it or get it. Tests check each against its model."""

from typing import Any

_READ: dict[str, Any] = {
    "name": "read",
    "description": "Read a file.",
    "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
}
_CALL = {"id": "call4Xk2Lm9QpR7sTvWz", "name": "read", "arguments": '{"path": "notes.txt"}'}
_RUN = "8d2Kf0aLmQx3"
_INVOCATION = "inv7Hs2Kd9Lq"

EXAMPLES: dict[str, Any] = {
    "ChatRequest": {
        "model": "assistant",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What do my notes say?"},
        ],
        "tools": [{"type": "function", "function": _READ}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "prompt_cache_key": "my-session",
    },
    "ChatCompletion": {
        "id": "chatcmpl-3vQ8rT2",
        "object": "chat.completion",
        "created": 1790000000,
        "model": "assistant",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": None,
                    "refusal": None,
                    "tool_calls": [
                        {
                            "id": _CALL["id"],
                            "type": "function",
                            "function": {"name": "read", "arguments": _CALL["arguments"]},
                        }
                    ],
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 812, "completion_tokens": 17, "total_tokens": 829},
    },
    "ResponsesRequest": {
        "model": "assistant",
        "input": "What do my notes say?",
        "instructions": "Be brief.",
        "tools": [{"type": "function", **_READ}],
        "store": True,
    },
    "MessagesRequest": {
        "model": "assistant",
        "max_tokens": 1024,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "What do my notes say?"}],
        "tools": [{"name": "read", "description": _READ["description"], "input_schema": _READ["parameters"]}],
    },
    "CountRequest": {"model": "assistant", "messages": [{"role": "user", "content": "What do my notes say?"}]},
    "ModelList": {
        "object": "list",
        "data": [
            {
                "id": "assistant",
                "object": "model",
                "created": 0,
                "owned_by": "dify",
                "description": "Answers questions about the house.",
                "context_window": 128000,
                "max_output_tokens": 8192,
                "kind": "chatflow",
                "inputs": [{"name": "city", "type": "text-input", "required": True}],
                "opening_statement": "Hello! What shall we do?",
                "suggested_questions": ["What can you do?"],
                "input_modalities": ["text"],
                "type": "model",
                "display_name": "assistant",
                "created_at": "1970-01-01T00:00:00Z",
                "lifecycle": "active",
                "max_input_tokens": 128000,
                "max_tokens": 8192,
            }
        ],
        "first_id": "assistant",
        "last_id": "assistant",
        "has_more": False,
    },
    "AttachRequest": {
        "protocol": 1,
        "invocation_id": _INVOCATION,
        "fingerprint": "9f86d081884c7d65",
        "model": "main",
        "user": "3f1c0a5e-8a34-4e0f-9a2b-6a1f0d7c5b21",
    },
    "TicketRequest": {
        "run_id": _RUN,
        "invocation_id": _INVOCATION,
        "round": 0,
        "content": None,
        "calls": [_CALL],
        "usage": {"prompt_tokens": 812, "completion_tokens": 17},
        "wait_seconds": 300,
    },
    "CancelRequest": {"reason": "the node was stopped", "invocation_id": _INVOCATION},
    "DraftRequest": {
        "run_id": _RUN,
        "round": 0,
        "calls": [{"id": _CALL["id"], "name": "read", "offset": 0, "arguments": '{"path'}],
    },
    "RecordRequest": {"run_id": _RUN, "text": "They say: buy milk.", "rounds": 1},
    "Registration": {
        "name": "laptop",
        "tools": [{"type": "function", "function": _READ, "read_only": True}],
        "patterns": ["*"],
        "concurrency": 4,
    },
    "Heartbeat": {},
    "Claim": {"max": 4, "wait": 20},
    "LeaseIds": {"leases": ["5QmZ1xYbT0"]},
    "LeasedResults": {
        "results": [{"lease_id": "5QmZ1xYbT0", "tool_call_id": _CALL["id"], "output": "buy milk", "is_error": False}]
    },
    "Approve": {"by": "ada"},
    "Deny": {"by": "ada", "reason": "Not on this machine."},
    "CancelRun": {"by": "ann"},
    "LoginLinkRequest": {"by": "ada"},
    "McpMessage": {
        "jsonrpc": "2.0",
        "id": 7,
        "method": "tools/call",
        "params": {"name": "read", "arguments": {"path": "notes.txt"}, "_meta": {"progressToken": 7}},
    },
    "McpAnswer": {
        "jsonrpc": "2.0",
        "id": 7,
        "result": {"content": [{"type": "text", "text": "Buy milk."}], "isError": False},
    },
}
