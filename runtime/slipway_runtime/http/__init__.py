"""HTTP/1.1 at the level of the protocol: the inference routes are answered here, everything else goes to ASGI."""
