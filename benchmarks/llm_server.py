"""A server that limits its clients as the APIs of large language models do: a process of its own, over HTTP on loopback.

A token bucket holds `BURST` requests and gains `RATE` of them in a second. A request that finds one waits for `WORK` and
gets a completion. One that does not is refused at once: 429, the error in OpenAI's words, and a `Retry-After` of whole
seconds, at least 1: what such an API sends, however soon there would be room again.

After a ``GET /strict`` refused requests count too: each takes what has come into the bucket since the last one. OpenAI
says that of its own limits (https://help.openai.com/en/articles/5955604).

    python benchmarks/llm_server.py            # prints its port; ends when its standard input does
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from typing import Any


RATE, BURST = 50.0, 10.0

#: Seconds.
WORK = 0.02


class Bucket:
    """So many at once, and so many in a second after that.

    Args:
        strict: Whether refused requests count.
    """

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self.tokens = BURST
        self.filled = time.monotonic()

    def take(self) -> float:
        """Take one; 0 if there was one, else the seconds until there is."""
        now = time.monotonic()
        self.tokens = min(BURST, self.tokens + (now - self.filled) * RATE)
        self.filled = now
        if self.tokens < 1:
            if self.strict:
                self.tokens = 0.0
            return (1 - self.tokens) / RATE
        self.tokens -= 1
        return 0.0


class Api:
    """The server's state, since the last reset."""

    def __init__(self) -> None:
        self.reset(strict=False)

    def reset(self, *, strict: bool) -> None:
        """A full bucket, and nothing counted."""
        self.bucket = Bucket(strict=strict)
        self.served = self.refused = 0

    async def answer(self, path: str) -> tuple[int, dict[str, str], dict[str, Any]]:
        """The status, the headers and the body."""
        if path == "/stats":
            return 200, {}, {"served": self.served, "refused": self.refused}
        if path in {"/lenient", "/strict"}:
            self.reset(strict=path == "/strict")
            return 200, {}, {}
        wait = self.bucket.take()
        if wait:
            self.refused += 1
            message = f"Rate limit reached: limit {RATE:g} requests a second. Please try again in {wait * 1000:.0f} ms."
            error = {"message": message, "type": "requests", "param": None, "code": "rate_limit_exceeded"}
            return 429, {"Retry-After": str(max(1, math.ceil(wait)))}, {"error": error}
        self.served += 1
        await asyncio.sleep(WORK)
        return 200, {}, _COMPLETION

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests, one after the other."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                lines = head.split("\r\n")
                length = next((int(line[15:]) for line in lines if line.lower().startswith("content-length:")), 0)
                await reader.readexactly(length)
                status, headers, body = await self.answer(lines[0].split(" ")[1])
                payload = json.dumps(body).encode()
                headers |= {"Content-Type": "application/json", "Content-Length": str(len(payload))}
                said = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                writer.write(f"HTTP/1.1 {status} Said\r\n{said}\r\n".encode() + payload)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            writer.close()


_COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "made-up",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yes.", "refusal": None}}
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


async def main() -> None:
    """Serve until nobody holds the other end of standard input."""
    server = await asyncio.start_server(Api().talk, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
