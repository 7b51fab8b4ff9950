"""Whether an archive refuses some values by itself: a check that an exported graph would be without.

Checks of shapes and kinds are no loss, as every request is held against the signature before it comes to the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

_RAISE: Final = "prim::RaiseException"
_IF: Final = "prim::If"
_ABOUT: Final = frozenset(
    {
        "aten::__contains__",
        "aten::__is__",
        "aten::__isnot__",
        "aten::dim",
        "aten::is_complex",
        "aten::is_floating_point",
        "aten::len",
        "aten::numel",
        "aten::size",
        "aten::stride",
        "prim::device",
        "prim::dtype",
        "prim::layout",
        "prim::requires_grad",
        "prim::is_cuda",
    }
)
"""What asks a tensor for something else than its values."""


def refuses_values(module: Any) -> bool:
    """`module` is a `torch.jit.ScriptModule`."""
    return any(
        _reads_values(branch.inputsAt(0).node(), set())
        for branch in _nodes(module.inlined_graph)
        if branch.kind() == _IF and any(node.kind() == _RAISE for block in branch.blocks() for node in _nodes(block))
    )


def _nodes(block: Any) -> Iterator[Any]:
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)


def _reads_values(node: Any, seen: set[int]) -> bool:
    """Whether what `node` gives hangs on the numbers in a tensor."""
    key = hash(node)
    if key in seen:
        return False
    seen.add(key)
    kind = node.kind()
    if kind in _ABOUT:
        return False
    inputs = list(node.inputs())
    reads = any(_is_tensor(value) for value in inputs) and not any(_is_tensor(value) for value in node.outputs())
    if reads and kind.startswith("aten::"):
        return True
    return any(_reads_values(value.node(), seen) for value in inputs) or any(
        _reads_values(inner, seen) for block in node.blocks() for inner in _nodes(block)
    )


def _is_tensor(value: Any) -> bool:
    return str(value.type()).startswith("Tensor") or value.type().kind() == "TensorType"
