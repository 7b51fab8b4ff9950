"""What tests of the cluster tool share."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.fixtures.site import Site


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
