"""A real MCP server, of the SDK, to be run as a program. Its tools do what a test tells them to.

    python -P mcp_server.py stdio
    python -P mcp_server.py streamable-http PORT [MOST SESSIONS]
    python -P mcp_server.py sse PORT

(-P: the folder that this is in has an `http.py`.) Port 0 is any; which one it is, is the first thing that it says.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

import anyio
import uvicorn
from mcp import MCPError
from mcp.server import MCPServer


server = MCPServer("told")


@server.tool()
async def say(words: str) -> str:
    """Answer with these words."""
    return words


@server.tool()
async def die() -> str:
    """End the server at once, in the middle of the call."""
    os.kill(os.getpid(), signal.SIGKILL)
    return "not reached"


@server.tool()
async def hang() -> str:
    """Answer never."""
    await anyio.sleep_forever()
    return "not reached"


@server.tool()
async def fail(words: str) -> str:
    """Have a bug."""
    raise ValueError(words)


@server.tool()
async def refuse(code: int, message: str) -> str:
    """Answer with this JSON-RPC error."""
    raise MCPError(code, message)


@server.prompt()
async def broken() -> str:
    """Have a bug, where no result can say so."""
    raise ValueError("a bug")


def main(transport: str, *arguments: str) -> None:
    if transport == "stdio":
        server.run()
        return
    port, *most = (int(argument) for argument in arguments)
    app = server.sse_app() if transport == "sse" else server.streamable_http_app(max_sessions=most[0] if most else None)
    with socket.create_server(("127.0.0.1", port)) as listener:
        print(f"port {listener.getsockname()[1]}", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listener])


if __name__ == "__main__":
    main(*sys.argv[1:])
