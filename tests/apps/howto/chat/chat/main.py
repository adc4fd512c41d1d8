"""The application of docs/guides/howto/fastapi.md."""

from __future__ import annotations

from fastapi import FastAPI, Request, WebSocket

app = FastAPI()


@app.get("/healthz")
def healthz() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/visitor")
def visitor(request: Request) -> dict[str, str]:
    return {"address": request.client.host if request.client else "", "url": str(request.url)}


@app.websocket("/ws/echo")
async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    while True:
        await websocket.send_text(await websocket.receive_text())
