"""Adds and subtracts two rows of integers on an inference server, written as the documentation of Triton's client
writes its first example. Knows nothing of who answers.

    python simple_http_infer_client.py -u localhost:8000
"""

import argparse
import sys

import numpy as np
import tritonclient.http as httpclient
from tritonclient.utils import InferenceServerException


def test_infer(client, inputs, outputs, **options):
    return client.infer("simple", inputs, outputs=outputs, query_params={"test_1": 1, "test_2": 2}, **options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("-v", "--verbose", action="store_true", help="Enable verbose output")
    parser.add_argument("-u", "--url", default="localhost:8000", help="Inference server URL")
    parser.add_argument("-H", dest="http_headers", action="append", default=[], help="HTTP header, Name:value")
    parser.add_argument("--request-compression-algorithm", default=None)
    parser.add_argument("--response-compression-algorithm", default=None)
    flags = parser.parse_args()

    try:
        triton_client = httpclient.InferenceServerClient(url=flags.url, verbose=flags.verbose, concurrency=1)
    except Exception as error:  # noqa: BLE001 - as the documentation has it
        print("channel creation failed: " + str(error))
        sys.exit(1)

    inputs = [httpclient.InferInput("INPUT0", [1, 16], "INT32"), httpclient.InferInput("INPUT1", [1, 16], "INT32")]
    input0_data = np.expand_dims(np.arange(start=0, stop=16, dtype=np.int32), axis=0)
    input1_data = np.full(shape=(1, 16), fill_value=-1, dtype=np.int32)
    inputs[0].set_data_from_numpy(input0_data, binary_data=False)
    inputs[1].set_data_from_numpy(input1_data, binary_data=True)
    outputs = [
        httpclient.InferRequestedOutput("OUTPUT0", binary_data=True),
        httpclient.InferRequestedOutput("OUTPUT1", binary_data=False),
    ]
    options = {
        "headers": dict(header.split(":") for header in flags.http_headers),
        "request_compression_algorithm": flags.request_compression_algorithm,
        "response_compression_algorithm": flags.response_compression_algorithm,
    }

    for requested in (outputs, None):
        results = test_infer(triton_client, inputs, requested, **options)
        print(results.get_response())
        output0_data = results.as_numpy("OUTPUT0")
        output1_data = results.as_numpy("OUTPUT1")
        for i in range(16):
            print(f"{input0_data[0][i]} + {input1_data[0][i]} = {output0_data[0][i]}")
            print(f"{input0_data[0][i]} - {input1_data[0][i]} = {output1_data[0][i]}")
            if (input0_data[0][i] + input1_data[0][i]) != output0_data[0][i]:
                print("sync infer error: incorrect sum")
                sys.exit(1)
            if (input0_data[0][i] - input1_data[0][i]) != output1_data[0][i]:
                print("sync infer error: incorrect difference")
                sys.exit(1)

    statistics = triton_client.get_inference_statistics(model_name="simple")
    print(statistics)
    if len(statistics["model_stats"]) != 1:
        print("FAILED: Inference Statistics")
        sys.exit(1)

    try:
        test_infer(triton_client, inputs[:1], outputs)
        print("FAILED: expected an error for a missing input")
        sys.exit(1)
    except InferenceServerException as error:
        print(error)

    try:
        triton_client.infer("wrong_model_name", inputs)
        print("FAILED: expected an error for a wrong model name")
        sys.exit(1)
    except InferenceServerException as error:
        print(error)
        if not error.message().startswith("Request for unknown model"):
            print("FAILED: improper error message for a wrong model name")
            sys.exit(1)

    print("PASS: infer")
