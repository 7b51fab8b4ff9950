"""Sockets and the HTTP server on them."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Any, Final

import uvicorn

from slipway_runtime.contract import FailureReason, Stage
from slipway_runtime.failure import StartupError

KEEP_ALIVE_SECONDS: Final = 120
"""Longer than proxies keep theirs (nginx 60, Traefik 90), so that they close first and none meets a reset."""
_BACKLOG: Final = 2048


def bind(host: str, port: int, flag: str) -> socket.socket:
    """`flag` is named in the message when the port cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server(
            (host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6()
        )
    except (OSError, OverflowError) as error:
        where = f"{host}:{port}"
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise StartupError(
                Stage.CONFIG,
                FailureReason.PORT_IN_USE,
                f"{where} is taken by another process. Choose another with {flag}.",
            ) from None
        detail = error.strerror if isinstance(error, OSError) else str(error)
        raise StartupError(
            Stage.CONFIG, FailureReason.INVALID_CONFIG, f"{flag}: cannot listen on {where}: {detail}."
        ) from None


class Listener(uvicorn.Server):
    """uvicorn without its signal handlers: when to stop is decided by `process`."""

    def __init__(self, app: Any, finish_seconds: int | None = None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                loop="none",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=_BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=finish_seconds,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
