"""Every cause is named where a user looks, and an older revision goes on serving meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest

from tests.cluster.lifecycle import Cluster
from tests.e2e.conftest import Digits, make_deploy
from tests.e2e.models import CREDENTIALS, Model
from tests.stack.images import Images
from tests.stack.store import Store

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NAMESPACE = "slipway-e2e-failures"
ENDPOINT_ONLY = "endpoint-only"
"""A Secret that says where the store is and holds no keys."""


@pytest.fixture(scope="module")
def served(installed: Cluster, store: Store, digits: Digits) -> Iterator[Model]:
    """A model that serves; each test changes it for the worse and this fixture's users mend it again."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    installed.kubectl("apply", "-f", "-", stdin=json.dumps(namespace))
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": ENDPOINT_ONLY, "namespace": NAMESPACE},
        "stringData": {"AWS_ENDPOINT_URL": store.endpoint},
    }
    installed.kubectl("apply", "-f", "-", stdin=json.dumps(secret))
    model = make_deploy(installed, store, digits, NAMESPACE)()
    model.wait_ready()
    yield model
    installed.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture
def mended(served: Model) -> Iterator[Model]:
    """The served model; after the test it is mended, and a user's fix must take effect at once."""
    good = deepcopy(served.spec)
    yield served
    served.spec = good
    served.apply(runtime=None, resources=None)
    served.wait_ready()
    assert "lastFailure" not in served.get()["status"]


def artifact(**changes: Any) -> dict[str, Any]:
    base = {"uri": "s3://models/digits/model.pt", "credentials": {"secretRef": {"name": CREDENTIALS}}}
    return {"artifact": base | changes}


HEALING = ("ArtifactUnreachable", "Unschedulable")
CAUSES = {
    "missing-key": (artifact(uri="s3://models/digits/nothing.pt"), "ArtifactNotFound", "digits/nothing.pt"),
    "missing-bucket": (artifact(uri="s3://nowhere/model.pt"), "ArtifactNotFound", "nowhere"),
    "wrong-digest": (artifact(digest="sha256:" + "0" * 64), "DigestMismatch", "sha256:" + "0" * 64),
    "no-credentials": (
        artifact(credentials={"secretRef": {"name": ENDPOINT_ONLY}}),
        "CredentialsMissing",
        "spec.artifact.credentials",
    ),
    "missing-secret": (artifact(credentials={"secretRef": {"name": "absent"}}), "ContainerConfigError", '"absent"'),
    "unreachable-host": (artifact(uri="http://nowhere.invalid/model.pt"), "ArtifactUnreachable", "nowhere.invalid"),
    "gpu-count": ({"resources": {"gpu": {"count": 64}}}, "Unschedulable", "nvidia.com/gpu"),
}


@pytest.mark.feature("artifact-digest", "old-revision-serves", "root-cause")
@pytest.mark.parametrize(("change", "reason", "words"), CAUSES.values(), ids=CAUSES.keys())
def test_cause_is_named_and_old_revision_serves_when_update_is_bad(
    mended: Model, change: dict[str, Any], reason: str, words: str
) -> None:
    mended.apply(**change)
    conditions = mended.wait_reason(reason)
    assert words in conditions["Ready"]["message"]
    assert conditions["Available"]["status"] == "True"
    assert conditions["Accepted"]["status"] == "True"
    # A cause that may pass by itself, such as a full cluster, is no reason to give up.
    assert conditions["Progressing"]["status"] == ("True" if reason in HEALING else "False")
    row = mended.row()
    assert (row["READY"], row["REASON"]) == ("False", reason)
    assert mended.get()["status"]["lastFailure"]["reason"] == reason
    assert mended.answers()


def test_cause_is_named_and_old_revision_serves_when_image_cannot_be_pulled(mended: Model, images: Images) -> None:
    missing = images.runtime.rpartition(":")[0] + ":no-such-tag"
    mended.apply(runtime={"image": missing})
    conditions = mended.wait_reason("ImagePullFailed")
    assert missing in conditions["Ready"]["message"]
    assert conditions["Available"]["status"] == "True"
    assert mended.row()["REASON"] == "ImagePullFailed"
    assert mended.answers()


@pytest.mark.feature("root-cause")
def test_cause_is_named_when_the_first_revision_is_bad(installed: Cluster, store: Store, digits: Digits) -> None:
    deploy = make_deploy(installed, store, digits, NAMESPACE)
    model = deploy("never-served", **artifact(uri="s3://models/digits/nothing.pt"))
    conditions = model.wait_reason("ArtifactNotFound")
    assert conditions["Available"]["status"] == "False"
    model.kubectl("delete", "mdep", model.name)
