"""A well-behaved MCP server over streamable HTTP, made with the official SDK. Wants a bearer token and says its port."""
import contextlib
import sys

import uvicorn
from mcp.server import MCPServer
from starlette.responses import PlainTextResponse

server = MCPServer("weather", log_level="ERROR")


@server.tool()
def weather(city: str) -> str:
    """The weather in a city."""
    return f"It rains in {city}."


app = server.streamable_http_app()


async def guarded(scope, receive, send):
    headers = dict(scope.get("headers", []))
    if scope["type"] == "http" and headers.get(b"authorization") != b"Bearer " + sys.argv[2].encode():
        return await PlainTextResponse("no", status_code=401)(scope, receive, send)
    return await app(scope, receive, send)


with contextlib.suppress(KeyboardInterrupt):
    uvicorn.run(guarded, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
