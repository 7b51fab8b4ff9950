"""URIs as they may be shown: without user, password, query and fragment, which can hold secrets."""

from __future__ import annotations

from urllib.parse import urlsplit


def redact_uri(uri: str) -> str:
    """The query's place is marked, so that a reader knows that there was one."""
    try:
        parts = urlsplit(uri)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return uri.partition("?")[0].rpartition("@")[2]
    mark = "?…" if parts.query else ""
    return f"{parts.scheme}://{host}{parts.path}{mark}" if parts.scheme else f"{host}{parts.path}{mark}"
