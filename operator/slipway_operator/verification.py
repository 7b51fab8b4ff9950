"""Whether a prediction went through the Service of this generation, and what pods are asked about themselves. Pure.

Ready pods prove the model, not the way to it. So when pods of a revision come to serve, the operator asks their Service
for a prediction once, and remembers in the status that it was answered. It asks anew only when that no longer proves
anything: another revision, another Service, or pods that were all gone in between.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Final

from slipway_operator.api.reasons import Reason
from slipway_operator.api.status import RESOLVED_URI_LIMIT
from slipway_operator.records import ChildRecord, PodRecord
from slipway_operator.redaction import redacted
from slipway_operator.render.manifest import stable_hash
from slipway_runtime.contract import ADMIN_PORT, STATUS_PATH, VERIFY_PATH, RuntimeStatus

LONGEST_SECONDS: Final = 30.0
"""Of one prediction; a model that takes longer is tried again, and told as what it is."""
MESSAGE_LIMIT: Final = 512
"""Characters of a server's own words."""
STEP_PERCENT: Final = 5
"""The status follows a download in steps of this share of it, so that it is written at most twenty times."""
STEP_BYTES: Final = 256 * 1024**2
"""The same where the store does not tell the size."""

_ROUTING: Final = ("clusterIP", "selector", "internalTrafficPolicy", "publishNotReadyAddresses")
"""Fields of a Service that decide which pods it leads to."""

_BUSY: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS})
_VERSION: Final = re.compile(r"(versionId|etag)=[-._~+/=A-Za-z0-9]{1,256}")
_WORD: Final = re.compile(r"[A-Z][A-Za-z0-9]{0,62}")
_NO_KEY: Final = frozenset({HTTPStatus.UNAUTHORIZED})


@dataclass(frozen=True)
class Example:
    """A POST that a server answers with a prediction, where it cannot be asked to make one up."""

    path: str
    body: str
    content_type: str


@dataclass(frozen=True)
class Question:
    """A prediction through a Service."""

    url: str
    revision: str
    service: str
    """Hash of where the Service leads, and of what it is asked."""
    timeout_seconds: float
    example: Example | None = None
    """None: the server makes one up and names its revision."""
    turned: bool = field(default=False, compare=False)
    """The Service led elsewhere when this revision was last asked: whoever forwards may not know of the change yet."""


@dataclass(frozen=True)
class Look:
    """How far one pod has come."""

    url: str
    revision: str


Inquiry = Question | Look


@dataclass(frozen=True)
class Verdict:
    """What came of a question. `reason` is empty when the prediction went through."""

    question: Question
    reason: str = ""
    message: str = ""
    facts: RuntimeStatus | None = None
    """What the server told of itself; nothing where it asks for an API key."""

    @property
    def holds(self) -> bool:
        return not self.reason


def question_for(
    service: ChildRecord | None,
    *,
    port: int,
    encrypted: bool,
    revision: str,
    timeout_seconds: float,
    example: Example | None = None,
) -> Question | None:
    """None while there is no address to ask. The address, not the name: who resolves names for the operator is another
    matter than whether the Service works."""
    routing = (service.body.get("spec") or {}) if service is not None else {}
    address = routing.get("clusterIP")
    if service is None or not address or address == "None":
        return None
    host = f"[{address}]" if ":" in address else address
    # As it is and not as it was rendered: while a pause holds repairs up, somebody may have turned it elsewhere.
    leads = [service.uid, [routing.get(name) for name in _ROUTING], [_without_node(port) for port in routing["ports"]]]
    return Question(
        url=f"{'https' if encrypted else 'http'}://{host}:{port}{example.path if example else VERIFY_PATH}",
        revision=revision,
        service=stable_hash(leads if example is None else [*leads, example.path, example.body, example.content_type]),
        timeout_seconds=min(timeout_seconds, LONGEST_SECONDS),
        example=example,
    )


def _without_node(port: Mapping[str, Any]) -> dict[str, Any]:
    """Of a Service's port, what decides where it leads inside the cluster."""
    return {name: port.get(name) for name in ("name", "port", "targetPort", "protocol")}


def look_at(pod: PodRecord) -> Look:
    """Needs an address. The admin port speaks plain HTTP, as the kubelet's probes do."""
    host = f"[{pod.address}]" if ":" in pod.address else pod.address
    return Look(f"http://{host}:{ADMIN_PORT}{STATUS_PATH}", pod.template_hash or "")


def judge_answer(question: Question, status: int, revision: str | None, body: str) -> Verdict:
    """`revision` is the header that names the server's; None where there is none."""
    said = _words(body)
    if revision is None or revision != question.revision:
        who = f"a server of revision {revision}" if revision else "a server that names no revision"
        return Verdict(
            question,
            Reason.SERVICE_UNREACHABLE,
            f"The Service leads to {who}, expected {question.revision}; it answered {status}{said}",
        )
    if status in _NO_KEY or status in _BUSY:
        # The way is proven by who refuses. The model was proven by the pod's own warm-up, or it is at work right now.
        return Verdict(question)
    if status == HTTPStatus.OK:
        return Verdict(question, facts=_facts(body))
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        # The model's own check refused made-up values, which says that it runs and nothing about real ones.
        return Verdict(question)
    return Verdict(question, Reason.PREDICTION_FAILED, f"A prediction through the Service was answered {status}{said}")


def judge_example(question: Question, path: str, status: int, body: str) -> Verdict:
    """The answer of a server of another kind, which is believed by its status alone."""
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Verdict(question)
    return Verdict(
        question,
        Reason.PREDICTION_FAILED,
        f"POST {path} of spec.runtime.container.prediction was answered {status} through the Service, expected 200 to"
        f" 299{_words(body)}",
    )


def no_answer(question: Question, error: str) -> Verdict:
    host = question.url.partition("://")[2].partition("/")[0]
    return Verdict(question, Reason.SERVICE_UNREACHABLE, f"The Service at {host} gives no answer: {redacted(error)}.")


def is_verified(question: Question, previous: Mapping[str, Any]) -> bool:
    """`previous` is the status as it was last written."""
    known = previous.get("verification") or {}
    return (known.get("revision"), known.get("service")) == (question.revision, question.service)


def marked(question: Question, previous: Mapping[str, Any]) -> Question:
    """Whether its Service was turned since."""
    known = previous.get("verification") or {}
    turned = known.get("revision") == question.revision and known.get("service") != question.service
    return replace(question, turned=turned)


def verification_status(question: Question, previous: Mapping[str, Any], now: str) -> dict[str, Any]:
    if is_verified(question, previous):
        found: dict[str, Any] = previous["verification"]
        return found
    return {"revision": question.revision, "service": question.service, "time": now}


def artifact_status(told: RuntimeStatus | None, revision: str | None, previous: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of the artifact of this revision's pods; empty when nothing is."""
    known: dict[str, Any] = previous.get("artifact") or {}
    if known.get("revision") != revision:
        known = {}
    if told is None or told.revision != revision or "format" in known or (told.digest is None and "digest" in known):
        return known
    if not told.fetched_bytes and told.artifact_bytes is None:
        return known
    found = {
        "revision": revision,
        "downloadedBytes": told.fetched_bytes if told.digest else stepped(told.fetched_bytes, told.artifact_bytes),
        "sizeBytes": told.artifact_bytes,
        "resolvedURI": _shown_uri(told.resolved_uri),
        "digest": told.digest,
        "format": str(told.format) if told.format else None,
        "loader": told.loader if told.loader and _WORD.fullmatch(told.loader) else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def stepped(received_bytes: int, size_bytes: int | None) -> int:
    """Rounded down, but never when all is there."""
    if size_bytes is not None and received_bytes >= size_bytes:
        return received_bytes
    step = STEP_BYTES if size_bytes is None else max(1, -(-size_bytes * STEP_PERCENT // 100))
    return received_bytes // step * step


def _shown_uri(uri: str | None) -> str | None:
    """Pods may run any image: what they tell is held to what the status takes."""
    location, mark, version = (uri or "").partition("#")
    shown = redacted(location) + (f"{mark}{version}" if _VERSION.fullmatch(version) else "")
    return shown if shown and len(shown) <= RESOLVED_URI_LIMIT and shown.isprintable() else None


def _facts(body: str) -> RuntimeStatus | None:
    try:
        return RuntimeStatus.model_validate_json(body)
    except ValueError:
        return None


def _words(body: str) -> str:
    text = redacted(" ".join(body.split()))
    if not text:
        return "."
    return f": {text if len(text) <= MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 1] + '…'}"
