"""The messages of the protocol, as classes.

They live in a pool of their own: a model's code that imports another copy of the same protocol, as tritonclient brings
one, would otherwise be refused by protobuf, which wants every name once.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from slipway_runtime.rpc.proto.generate import GENERATED

SERVICE: Final = "inference.GRPCInferenceService"


def _pool() -> Any:
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(GENERATED.read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


POOL: Final = _pool()
METHODS: Final = tuple(method.name for method in POOL.FindServiceByName(SERVICE).methods)


def message(name: str) -> Any:
    """The class of the message `inference.NAME`."""
    return GetMessageClass(POOL.FindMessageTypeByName(f"inference.{name}"))


def messages_of(method: str) -> tuple[Any, Any]:
    """Classes of what `method` takes and gives."""
    descriptor = POOL.FindServiceByName(SERVICE).methods_by_name[method]
    return GetMessageClass(descriptor.input_type), GetMessageClass(descriptor.output_type)


ModelInferRequest: Final = message("ModelInferRequest")
ModelInferResponse: Final = message("ModelInferResponse")
ModelStreamInferResponse: Final = message("ModelStreamInferResponse")
