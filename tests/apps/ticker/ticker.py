"""An ASGI application: it starts something at its start, streams, and speaks WebSocket."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    app.state.started = True
    yield


async def told(request: Request) -> JSONResponse:
    env = {key: value for key, value in os.environ.items() if key.startswith(("TOLD_", "WEBAPP_"))}
    client = request.client.host if request.client else None
    visitor = [request.url.scheme, request.url.netloc, client, request.scope["root_path"]]
    return JSONResponse(
        {"env": env, "visitor": visitor, "pid": os.getpid(), "started": getattr(request.app.state, "started", False)}
    )


async def ticks(request: Request) -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        for number in range(3):
            yield f"tick {number}\n"
            await asyncio.sleep(0.05)

    return StreamingResponse(lines(), media_type="text/plain")


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()


app = Starlette(lifespan=lifespan, routes=[Route("/told", told), Route("/ticks", ticks), WebSocketRoute("/echo", echo)])
