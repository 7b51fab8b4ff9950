"""Adds and subtracts two rows of integers over gRPC in each way that the documentation of Triton's client shows:
plainly, with callbacks, with asyncio, with keep-alive and channel options, compressed, on a stream, and with typed
contents on a stub of its own. Knows nothing of who answers.

    python simple_grpc_infer_clients.py -u localhost:8001
"""

import argparse
import asyncio
import queue
import sys
from functools import partial

import grpc
import numpy as np
import tritonclient.grpc as grpcclient
import tritonclient.grpc.aio as aioclient
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

INPUT0 = np.expand_dims(np.arange(start=0, stop=16, dtype=np.int32), axis=0)
INPUT1 = np.ones(shape=(1, 16), dtype=np.int32)


def inputs_and_outputs():
    inputs = [grpcclient.InferInput("INPUT0", [1, 16], "INT32"), grpcclient.InferInput("INPUT1", [1, 16], "INT32")]
    inputs[0].set_data_from_numpy(INPUT0)
    inputs[1].set_data_from_numpy(INPUT1)
    return inputs, [grpcclient.InferRequestedOutput("OUTPUT0"), grpcclient.InferRequestedOutput("OUTPUT1")]


def check(way, results):
    for name, expected in (("OUTPUT0", INPUT0 + INPUT1), ("OUTPUT1", INPUT0 - INPUT1)):
        if not np.array_equal(results.as_numpy(name), expected):
            print(f"FAILED: {way}: {name} is {results.as_numpy(name)}")
            sys.exit(1)
    print(f"PASS: {way}")


def plain(url, verbose, **options):
    client = grpcclient.InferenceServerClient(url=url, verbose=verbose, **options)
    inputs, outputs = inputs_and_outputs()
    for algorithm in (None, "gzip", "deflate"):
        results = client.infer(
            "simple", inputs, outputs=outputs, headers={"test": "1"}, compression_algorithm=algorithm, client_timeout=60
        )
        check(f"infer {algorithm} {sorted(options)}", results)
    check("infer without outputs", client.infer(model_name="simple", inputs=inputs, outputs=None))
    statistics = client.get_inference_statistics(model_name="simple")
    if len(statistics.model_stats) != 1:
        print("FAILED: Inference Statistics")
        sys.exit(1)
    try:
        client.infer("wrong_model_name", inputs)
        print("FAILED: expected an error for a wrong model name")
        sys.exit(1)
    except InferenceServerException as error:
        if "Request for unknown model" not in error.message() or error.status() != "StatusCode.NOT_FOUND":
            print(f"FAILED: improper error for a wrong model name: {error}")
            sys.exit(1)


def callbacks(url):
    client = grpcclient.InferenceServerClient(url=url)
    inputs, outputs = inputs_and_outputs()
    found = queue.Queue()
    answer = partial(lambda user_data, result, error: user_data.put(error or result), found)
    client.async_infer("simple", inputs, callback=answer, outputs=outputs, client_timeout=60)
    check("async infer", found.get(timeout=60))
    client.start_stream(callback=answer)
    for number in range(3):
        client.async_stream_infer("simple", inputs, outputs=outputs, request_id=str(number))
    for number in range(3):
        results = found.get(timeout=60)
        check(f"stream infer {results.get_response().id}", results)
        assert results.get_response().id == str(number)
    client.stop_stream()


async def with_asyncio(url):
    async with aioclient.InferenceServerClient(url=url) as client:
        inputs, outputs = inputs_and_outputs()
        waiting = [client.infer("simple", inputs, outputs=outputs, client_timeout=60) for _ in range(2)]
        for results in await asyncio.gather(*waiting):
            check("aio infer", results)


def typed_contents(url):
    request = service_pb2.ModelInferRequest(model_name="simple", model_version="")
    for name, array in (("INPUT0", INPUT0), ("INPUT1", INPUT1)):
        tensor = request.inputs.add(name=name, datatype="INT32", shape=[1, 16])
        tensor.contents.int_contents[:] = array.reshape(-1).tolist()
    with grpc.insecure_channel(url) as channel:
        response = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    check("explicit contents", grpcclient.InferResult(response))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("-v", "--verbose", action="store_true", help="Enable verbose output")
    parser.add_argument("-u", "--url", default="localhost:8001", help="Inference server URL")
    flags = parser.parse_args()

    plain(flags.url, flags.verbose)
    keepalive = grpcclient.KeepAliveOptions(2**31 - 1, 20000, keepalive_permit_without_calls=False)
    plain(flags.url, flags.verbose, keepalive_options=keepalive)
    plain(flags.url, flags.verbose, channel_args=[("grpc.max_receive_message_length", 1024 * 1024)])
    callbacks(flags.url)
    asyncio.run(with_asyncio(flags.url))
    typed_contents(flags.url)
    print("PASS: all")
