"""A server that knows nothing of Slipway but the variables of the container contract: Python's own HTTP, and torch."""

from __future__ import annotations

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

model = torch.jit.load(os.environ["SLIPWAY_ARTIFACT_PATH"])


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(200 if self.path == "/ready" else 404, {})

    def do_POST(self) -> None:
        if self.path != "/":
            self._answer(404, {"error": f"there is no {self.path} here"})
            return
        images = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with torch.inference_mode():
            labels, _ = model(torch.tensor(images))
        self._answer(200, {"model": os.environ["SLIPWAY_MODEL_NAME"], "labels": labels.tolist()})

    def _answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
