"""A real S3 server beside the cluster, for artifacts.

versitygw serves a folder as buckets. It listens on the node's own address, so Pods reach it, and nothing else does.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
from obstore.store import S3Store

from tests.cluster import components

if TYPE_CHECKING:
    from tests.cluster.lifecycle import Cluster

PORT: Final = 7070
REGION: Final = "us-east-1"
START_SECONDS: Final = 90.0


@dataclass(frozen=True)
class Store:
    """How to reach the store. The keys are of no value: the store holds what its own test put there."""

    endpoint: str
    bucket: str
    access_key_id: str = "slipway-demo"
    secret_access_key: str = "slipway-demo-secret"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the runtime reads; the content of a credentials Secret."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
        }

    def upload(self, path: Path, key: str) -> str:
        """Put a file into the bucket; returns its URI."""
        bucket = S3Store(
            self.bucket,
            endpoint=self.endpoint,
            region=REGION,
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )
        bucket.put(key, path)
        return f"s3://{self.bucket}/{key}"


def start_store(cluster: Cluster, bucket: str = "models") -> Store:
    """Start the store on the cluster's node, or find it running."""
    store = Store(endpoint=f"http://{cluster.node_address}:{PORT}", bucket=bucket)
    directory = cluster.directory / "store"
    (directory / bucket).mkdir(parents=True, exist_ok=True)
    if not _answers(store):
        cluster.run_on_node(
            "store",
            [
                str(components.ensure("versitygw")),
                "--port",
                f"{cluster.node_address}:{PORT}",
                "--region",
                REGION,
                "posix",
                str(directory),
            ],
            env={"ROOT_ACCESS_KEY": store.access_key_id, "ROOT_SECRET_KEY": store.secret_access_key},
        )
        deadline = time.monotonic() + START_SECONDS
        while not _answers(store):
            if time.monotonic() > deadline:
                log = cluster.directory / "log" / "store.log"
                raise RuntimeError(
                    f"{store.endpoint}: the S3 server did not answer in {START_SECONDS:.0f} s, see {log}."
                )
            time.sleep(0.1)
    return store


def _answers(store: Store) -> bool:
    try:
        httpx.get(store.endpoint, timeout=2.0)
    except httpx.HTTPError:
        return False
    return True
