"""Writes `inference.binpb`, the protocol's files as protobuf describes them to itself.

`python -m slipway_runtime.rpc.proto.generate` writes it, with `--check` it fails when it is stale.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

FOLDER: Final = Path(__file__).parent
GENERATED: Final = FOLDER / "inference.binpb"


def generate() -> bytes:
    """A serialized `FileDescriptorSet`."""
    from grpc_tools import protoc

    with TemporaryDirectory() as folder:
        output = Path(folder) / "set"
        sources = sorted(path.name for path in FOLDER.glob("*.proto"))
        if protoc.main(["protoc", f"--proto_path={FOLDER}", f"--descriptor_set_out={output}", *sources]):
            raise SystemExit(1)
        return output.read_bytes()


def main() -> None:
    content = generate()
    if "--check" not in sys.argv[1:]:
        GENERATED.write_bytes(content)
    elif GENERATED.read_bytes() != content:
        raise SystemExit(f"{GENERATED} is stale: run `make generate`.")


if __name__ == "__main__":
    main()
