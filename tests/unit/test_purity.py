"""A module that calls itself pure is: it reaches no clock, no network, no file, no chance and no log.

"Pure, but for" something is a statement of its own, and not held to this.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

pytestmark = pytest.mark.unit

ROOT: Final = Path(__file__).parents[2]
SIDES: Final = frozenset(
    {"aiohttp", "asyncio", "httpx", "kopf", "kubernetes", "logging", "os", "random", "socket", "subprocess", "time"}
    | {"threading", "torch"}
)
"""Packages with which a module could reach beyond its arguments."""
EFFECTS: Final = frozenset({"print", "read_text", "write_text", "read_bytes", "write_bytes", "utcnow", "today"})
"""Calls that do."""


def modules() -> list[Path]:
    return [path for folder in ("operator", "runtime") for path in sorted((ROOT / folder).rglob("*.py"))]


def calls_itself_pure(module: Path) -> bool:
    """By its own docstring, else by a package's around it."""
    packages = [parent / "__init__.py" for parent in module.parents if (parent / "__init__.py").is_file()]
    for path in [module, *packages]:
        said = ast.get_docstring(ast.parse(path.read_text())) or ""
        if match := re.search(r"\bPure\b(,? but for)?", said):
            return not match[1]
    return False


PURE: Final = [module for module in modules() if calls_itself_pure(module)]


def test_most_decisions_call_themselves_pure() -> None:
    assert len(PURE) > 100


@pytest.mark.parametrize("module", PURE, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_pure_module_imports_nothing_with_effects_and_calls_nothing_that_has_one(module: Path) -> None:
    imported: set[str] = set()
    called: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            imported.add(str(node.module).partition(".")[0])
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called.add(node.func.id)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called.add(node.func.attr)
    assert imported & SIDES == set()
    assert called & (EFFECTS | {"open"} - opens_pictures(module)) == set()


def opens_pictures(module: Path) -> set[str]:
    """Pillow's `open` takes bytes as well."""
    return {"open"} if "from PIL import Image" in module.read_text() else set()
