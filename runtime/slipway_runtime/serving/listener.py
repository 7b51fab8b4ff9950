"""Sockets to listen on."""

from __future__ import annotations

import errno
import socket

from slipway_runtime.contract import FailureReason, Stage
from slipway_runtime.failure import StartupError
from slipway_runtime.http.server import BACKLOG


def bind(host: str, port: int, flag: str) -> socket.socket:
    """`flag` is named in the message when the port cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server(
            (host, port), family=family, backlog=BACKLOG, dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6()
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
