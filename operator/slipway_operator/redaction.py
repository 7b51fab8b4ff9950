"""Takes secrets out of text that others wrote, before it is shown. Pure."""

from __future__ import annotations

import re
from typing import Final

_USER_INFO: Final = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s@\"']+@")
_QUERY: Final = re.compile(r"(?P<address>[a-zA-Z][a-zA-Z0-9+.-]*://[^\s?\"']*)\?[^\s\"']+")


def redacted(text: str) -> str:
    """Without the user part and the query string of each URI: both carry credentials and signatures."""
    return _QUERY.sub(r"\g<address>?…", _USER_INFO.sub(r"\g<scheme>…@", text))
