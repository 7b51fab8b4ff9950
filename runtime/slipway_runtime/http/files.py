"""Room for connections: each is an open file, and processes begin with a low limit on those."""

from __future__ import annotations

import logging
import resource
from typing import Final

_OTHERS: Final = 512
"""Open files that are no connections on the inference port: libraries, workers, the admin port, gRPC."""

log = logging.getLogger(__name__)


def make_room(connections: int) -> int:
    """Raises the limit on open files as far as it is allowed to and needed; how many connections fit then."""
    needed = connections + _OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return connections
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (OSError, ValueError):
        allowed = soft
    fitting = min(connections, max(allowed // 2, allowed - _OTHERS))
    if fitting < connections:
        log.warning(
            "There is room for %d connections, not for %d (maxConnections): the process may open %d files. Raise its"
            " limit (ulimit -n)",
            fitting,
            connections,
            allowed,
        )
    return fitting
