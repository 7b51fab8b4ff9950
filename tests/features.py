"""What people compare model servers and serving operators by, as data: the rows of docs/features.md.

A test that proves a row carries the row's name:

    @pytest.mark.feature("binary-tensors")
    def test_a_bf16_tensor_comes_back_bit_for_bit(...) -> None: ...

Several names may be given, and `pytestmark` marks a whole module. Mark a test only when the row's words hold in full:
one marked test makes the row a "yes". After that write the page with `make generate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Feature:
    """One row. The name is what a marker says; the words are what a reader may rely on."""

    name: str
    words: str


@dataclass(frozen=True)
class Group:
    """Rows that belong together, under one heading."""

    title: str
    features: tuple[Feature, ...]


@dataclass(frozen=True)
class Table:
    """All rows about one part of the product."""

    title: str
    groups: tuple[Group, ...]

    @property
    def features(self) -> tuple[Feature, ...]:
        return tuple(feature for group in self.groups for feature in group.features)


def _group(title: str, **rows: str) -> Group:
    return Group(title, tuple(Feature(name.replace("_", "-"), words) for name, words in rows.items()))


RUNTIME: Final = Table(
    "Runtime",
    (
        _group(
            "Models",
            python_handler="A Python class with setup, preprocess, predict, postprocess, health and teardown; sync or"
            " async, all optional but predict",
            no_code="An artifact's URI is all it takes to serve a model: no code, no server configuration",
            format_detection="The format is detected from the content, the choice is logged, and a field overrides it",
            torchscript="TorchScript archives, with names and types of their inputs and outputs",
            torch_export="torch.export programs and AOTInductor packages",
            onnx="ONNX models",
            huggingface="Hugging Face directories with safetensors weights",
            sklearn="scikit-learn models without pickle",
            pickle_blocked="Files that need pickle are refused by default",
            warm_up="A warm-up from the signature or from samples; it measures the latency of each batch size too",
            tuner="The fastest way to run the model on this machine is looked for at load, among those with the same"
            " answers",
        ),
        _group(
            "Batching and latency",
            dynamic_batching="Requests share batches without configuration where the batch dimension is known",
            batch_rows="The limit of a batch counts rows, not requests",
            batch_clock="The delay of a batch counts from the arrival of its first request",
            lone_request="A lone request never waits for others",
            latency_model="Batch sizes follow latencies that are measured and kept up to date while serving",
            latency_target="A latency target forms batches, admits requests and is measured",
            client_deadline="The client's deadline is honoured in the queue: header, protocol parameter, gRPC deadline",
            running_deadline="A request that is being computed is answered at its deadline too",
            early_rejection="A request that cannot be answered in time is refused on arrival",
            padding="Batches are padded to allowed sizes, which answers never show; items of one shape share a batch",
            splitting="A request larger than a batch is split, and answered as one in order",
            priorities="Requests carry priorities, and low ones do not starve",
        ),
        _group(
            "Isolation and limits",
            item_errors="A bad item in a batch fails alone",
            rows_never_mix="Rows of different clients never mix",
            bounded_queue="The queue is bounded by default, and what exceeds it is refused",
            retry_after="A refusal says when to try again (`Retry-After`)",
            bytes_admission="Bodies and batches in memory are bounded by bytes",
            body_limit="A body above the limit is answered 413 before it is read, decompressed size included",
            worker_restart="A crashed or hung worker is replaced by itself while the server stays up",
            worker_requests="Requests of a crashed worker are tried once more or fail fast",
            multi_gpu="Several GPUs are used by one server",
            one_queue="One queue feeds all workers",
            tensor_parallel="A model too large for one GPU runs on several",
            one_copy="Tensors are copied at most once between the socket and the model",
            auth="API keys from a file, compared in constant time, rotated without a restart",
            precise_errors="Bad input gets a 4xx that names part, value and rule in the protocol's error body",
        ),
        _group(
            "Protocols",
            oip_rest="Open Inference Protocol v2 over REST, whole, errors included",
            binary_tensors="The binary tensor extension in both directions, with FP16 and BF16",
            oip_grpc="Open Inference Protocol v2 over gRPC",
            v1_predict="The V1 protocol: `instances`, `inputs` and base64 objects",
            openai="OpenAI's routes for text models",
            uploads="Images, `.npy`, raw bytes and multipart uploads",
            streaming="Answers as a stream (server-sent events)",
            disconnects="A client that disconnects has its queued work cancelled",
            openapi="Swagger with the model's real schema",
            typed_client="A generated or typed client",
            chaining="Models that call one another",
            response_cache="A cache of answers",
            hot_reload="Versions are loaded, swapped and unloaded while serving",
        ),
        _group(
            "Operation",
            liveness_apart="Liveness, readiness and startup are told apart and answered while the model computes",
            drain_readiness="After SIGTERM readiness ends before the listener closes",
            drain_inflight="Requests in flight at SIGTERM are answered",
            runtime_metrics="Prometheus metrics without an add-on",
            batch_histograms="Histograms of queue time and batch size",
            traces="OpenTelemetry traces",
            payload_log="Requests and answers are logged in samples, bounded and redacted",
            store_schemes="Artifacts from s3, gs and az",
            node_cache="Pods of a node share one copy of an artifact",
            checksum="A checksum or signature is checked before the artifact is loaded",
            local_run="The same manifest runs as a local process",
        ),
    ),
)

OPERATOR: Final = Table(
    "Operator",
    (
        _group(
            "Artifact",
            artifact_schemes="Six or more artifact schemes",
            artifact_digest="A pinned digest is verified before the artifact is loaded, for every scheme",
            artifact_resolved="The resolved URI and digest in the status",
            artifact_tracking="A moving tag is followed by a controlled rollout",
            artifact_preflight="URI and credentials are checked before any pod is replaced",
            artifact_secret="A Secret with the store's credentials, named on the object",
            artifact_identity="Access without keys through a ServiceAccount",
            custom_image="Any container image as the runtime, by a documented contract",
            runtime_by_format="The loader is chosen from the artifact's format, and the choice is told",
            adapters="Several models or adapters per pod",
            artifact_cache="A node's or volume's cache of artifacts",
            download_progress="The download's progress in the status",
            download_stall="A stalled download ends, and fatal errors end it at once",
        ),
        _group(
            "Serving and service levels",
            batching_field="Batching in the API",
            batching_from_target="Batch delay and size derived from the latency target",
            request_timeout="The request timeout in the API, from which drain and grace period follow",
            load_shedding="Concurrency limits and load shedding",
            sla_latency="A latency target in the spec",
            sla_availability="An availability target in the spec",
            sla_condition="Whether the targets are met as a condition",
            sla_scaling="Replicas driven by measured latency or queue",
            sla_any_model="Latency targets for models of any kind, not only of language",
            performance_status="Measured performance in the status",
            sla_feasible="A verdict on whether the target can be met at all",
            scaling_budget="A cap on GPUs or cost",
        ),
        _group(
            "Autoscaling",
            hpa="A HorizontalPodAutoscaler on CPU, memory or custom metrics",
            keda="KEDA works through `/scale`",
            scale_to_zero="Scale to zero without losing requests, without Knative",
            scale_subresource="The `/scale` subresource, with its selector",
        ),
        _group(
            "Rollout",
            canary="A weighted canary",
            canary_plain="A canary with a plain Service and Ingress",
            promotion="Automatic promotion on metrics",
            rollback="Automatic rollback when targets are missed",
            old_revision_serves="The old revision serves while the new one is bad",
            revision_history="A history of revisions, and rollback by one field",
            gpu_surge="Surge that looks at free GPUs",
            shadow_traffic="Shadow traffic",
            warm_up_before_ready="A real prediction before a pod is ready",
            rendered_plan="What becomes of a manifest is shown before it is applied",
            paused="A switch that stops the operator and keeps serving",
        ),
        _group(
            "Exposure",
            ingress="An Ingress for each object",
            ingress_tls="TLS on the object",
            gateway="A Gateway API route",
            path_routing="Path-based routing for each object, with any Ingress controller",
            endpoint_auth="Authentication on the endpoint",
        ),
        _group(
            "Status and observability",
            conditions="Standard conditions, Ready among them, present from the first reconcile",
            observed_generation="`observedGeneration` is right, on failures too",
            url_column="The URL in `kubectl get`, once the route has an address",
            replicas_column="Ready and wanted replicas in `kubectl get`",
            sla_columns="Service level, p95 and reason in `kubectl get`",
            root_cause="The root cause of a failing pod in the status, whichever pod it is",
            events="One Event per transition",
            operator_metrics="Metrics of the operator about its objects",
        ),
        _group(
            "Validation",
            cel="Cross-field rules in the CRD, so that wrong input is refused without a webhook",
            deep_check="Checks beyond the schema before anything is changed",
            all_errors="All mistakes at once, each with path, value, rule and fix",
            no_cert_manager="No cert-manager",
        ),
        _group(
            "Operation of the operator",
            leader_election="Leader election by default",
            drift="Drift of every child is put back",
            disruption="A disruption budget, and drains that lose no request",
            restricted="Serving pods run under Pod Security restricted",
            no_add_ons="No add-on is mandatory",
            three_commands="Three commands or fewer to the first prediction",
            values_schema="The chart's values have a schema",
            scale_figures="Published figures of the operator's scale",
        ),
    ),
)

TABLES: Final = (RUNTIME, OPERATOR)
