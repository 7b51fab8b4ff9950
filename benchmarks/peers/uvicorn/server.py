"""The least that an ASGI application does: reads the body, looks its answer up, writes it as JSON. No model."""

from __future__ import annotations

from answers import answer_to

_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json")],
}


async def app(scope, receive, send) -> None:
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    answer = answer_to(body)
    await send({**_START, "headers": [*_START["headers"], (b"content-length", b"%d" % len(answer))]})
    await send({"type": "http.response.body", "body": answer})
