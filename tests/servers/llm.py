"""What the APIs of OpenAI and of Anthropic answer, to the few questions that the tests ask: good, bad, and in a stream."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Any

from tests.servers.http import Answer


#: A chunk of an answer that goes on.
OPENAI_CHUNK = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "none",
    "choices": [{"index": 0, "delta": {"content": "so far"}, "finish_reason": None}],
}
ANTHROPIC_CHUNK = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "none",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
}


def openai_error(**said: object) -> dict[str, Any]:
    """The body of an answer that is an error: what it says of `code`, `type` and `message`."""
    return {"error": {"message": "said", "type": None, "param": None, "code": None, **said}}


def anthropic_error(kind: str = "api_error", error_code: str | None = None) -> dict[str, Any]:
    """The same of Anthropic's."""
    details = None if error_code is None else {"error_code": error_code}
    return {"type": "error", "error": {"type": kind, "message": "said", "details": details}, "request_id": "req_1"}


def event(data: Mapping[str, object], name: str | None = None) -> bytes:
    """One event of a stream, as it is sent."""
    head = "" if name is None else f"event: {name}\n"
    return f"{head}data: {json.dumps(data)}\n\n".encode()


#: A stream that has begun well, in either's words.
OPENAI_BEGINS = event(OPENAI_CHUNK)
ANTHROPIC_BEGINS = event(ANTHROPIC_CHUNK, "message_start")


def streams(*events: bytes, then: Answer | None = None, headers: Mapping[str, str] | None = None) -> Answer:
    """Send these events, and end the stream well; or do this instead."""
    lines = ["HTTP/1.1 200 OK", "Content-Type: text/event-stream", "Transfer-Encoding: chunked"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")

    def answer(peer: socket.socket) -> None:
        peer.sendall(head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in events))
        if then is None:
            peer.sendall(b"0\r\n\r\n")
        else:
            then(peer)

    return answer
