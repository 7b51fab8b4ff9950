"""Asks a runtime as KServe's own client does, over REST and gRPC, and prints what it got as one JSON object.

    python kserve_client.py http://127.0.0.1:8080 127.0.0.1:9000

Run by the interpreter of an environment that has `kserve`.
"""

import asyncio
import json
import sys

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

X = np.array([[1, 0, 0, 0], [0, 1, 0, 0]], np.float32)


def request(binary, **options):
    tensor = InferInput("x", [2, 4], "FP32")
    tensor.set_data_from_numpy(X, binary_data=binary)
    return InferRequest("linear", [tensor], request_id="7", **options)


async def ask_v1(url):
    found = {}
    async with InferenceRESTClient(RESTConfig(protocol="v1")) as client:
        found["live"] = await client.is_server_live(url)
        found["model_ready"] = await client.is_model_ready(url, "linear")
        found["predictions"] = await client.infer(url, {"instances": X.tolist()}, model_name="linear")
        try:
            await client.infer(url, {"instances": [[1]]}, model_name="linear")
        except httpx.HTTPStatusError as error:
            found["error"] = str(error)
    return found


async def ask_v2(url):
    found = {}
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        found["live"] = await client.is_server_live(url)
        found["ready"] = await client.is_server_ready(url)
        found["model_ready"] = await client.is_model_ready(url, "linear")
        found["other_ready"] = await client.is_model_ready(url, "other")
        forms = {
            "json": request(False),
            "binary_in": request(True),
            "binary_out": request(False, request_outputs=[RequestedOutput("scores", {"binary_data": True})]),
            "binary": request(True, parameters={"binary_data_output": True}),
        }
        for name, form in forms.items():
            answer = await client.infer(url, form, model_name="linear")
            found[name] = [answer.id, answer.outputs[0].name, answer.outputs[0].as_numpy().tolist()]
        wrong = InferRequest("linear", [InferInput("y", [1, 4], "FP32", data=[1.0, 2.0, 3.0, 4.0])])
        try:
            await client.infer(url, wrong, model_name="linear")
        except httpx.HTTPStatusError as error:
            found["error"] = str(error)
    return found


async def ask_grpc(address):
    found = {}
    async with InferenceGRPCClient(address) as client:
        found["live"] = await client.is_server_live()
        found["ready"] = await client.is_server_ready()
        found["model_ready"] = await client.is_model_ready("linear")
        for name, binary in (("contents", False), ("raw", True)):
            answer = await client.infer(request(binary))
            found[name] = [answer.id, answer.outputs[0].name, answer.outputs[0].as_numpy().tolist()]
        wrong = InferRequest("linear", [InferInput("y", [1, 4], "FP32", data=[1.0, 2.0, 3.0, 4.0])])
        try:
            await client.infer(wrong)
        except grpc.RpcError as error:
            found["error"] = [error.code().name, error.details()]
    return found


async def main():
    url, address = sys.argv[1:]
    print(json.dumps({"v1": await ask_v1(url), "v2": await ask_v2(url), "grpc": await ask_grpc(address)}))


asyncio.run(main())
