"""Reflection: what the port speaks, told to tools such as grpcurl."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from slipway_runtime.protocol.errors import bad_request
from slipway_runtime.rpc.messages import POOL
from slipway_runtime.rpc.service import Gateway

NAME: Final = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].full_name


def handlers(services: Mapping[str, Any], gateway: Gateway) -> Mapping[str, Any]:
    """By method. `services`: names, each with the descriptor of its file; None where it is the protocol's own."""
    pool = DescriptorPool()
    files = [POOL.FindFileByName(name) for name in ("model_config.proto", "grpc_service.proto")]
    for file in (*files, *(file for file in services.values() if file is not None), reflection_pb2.DESCRIPTOR):
        pool.AddSerializedFile(file.serialized_pb)
    servicer = ReflectionServicer((*services, NAME), pool)

    async def parsed(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        async for message in messages:
            try:
                request = reflection_pb2.ServerReflectionRequest.FromString(message)
            except DecodeError:
                error = bad_request("invalid_message", "The message is no ServerReflectionRequest.")
                await gateway.refuse(context, error)
                raise
            yield request

    async def reflect(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        await gateway.let_in(context)
        async for answer in servicer.ServerReflectionInfo(parsed(messages, context), context):
            yield answer.SerializeToString()

    return {f"/{NAME}/ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(reflect)}
