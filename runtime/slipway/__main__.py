"""Entry point of the `slipway` command."""

from __future__ import annotations

import sys
from typing import Final

_EXTRA: Final = ("yaml", "celpy", "jsonschema", "lark", "re2")


def main() -> None:
    from slipway.cli import cli

    try:
        cli(prog_name="slipway")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in _EXTRA:
            raise
        print(  # noqa: T201 the command's last word, before click is in charge
            f"slipway: the package {error.name} is not installed here. Install the command's own packages with:"
            " pip install 'slipway[cli]'",
            file=sys.stderr,
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
