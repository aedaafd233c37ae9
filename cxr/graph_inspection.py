"""An ONNX file looked at before any engine gets it: what it may not hold is named, and nothing of it is executed.

Only the wire format of Protocol Buffers is read (https://protobuf.dev/programming-guides/encoding/), with the field numbers of
onnx.proto: the `onnx` package is not needed to serve.
"""

import math
from collections.abc import Iterator

# Operators of the ONNX standard, and those that ONNX Runtime's own quantiser writes; anything else needs code from elsewhere.
DOMAINS = frozenset({"", "ai.onnx", "com.microsoft"})
MAX_NODES = 20_000
MAX_DEPTH = 8  # of graphs inside of nodes
MAX_VALUES = 1 << 28  # of one constant: a gibibyte of float32
_MODEL = {"graph": 7, "opset": 8, "function": 25}
_GRAPH = {"node": 1, "initializer": 5, "sparse": 15}
_NODE = {"operator": 4, "attribute": 5, "domain": 7}
_ATTRIBUTE = {"tensor": 5, "graph": 6, "tensors": 10, "graphs": 11, "sparse": 22, "sparses": 23}
_TENSOR = {"dims": 1, "type": 2, "floats": 4, "int32s": 5, "int64s": 7, "raw": 9, "doubles": 10, "external": 13, "location": 14}
_BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 16: 16, 21: 4, 22: 4}
_FOREIGN = frozenset({"Loop", "Scan", "If", "PyOp", "Sequence", "Optional"})

Field = tuple[int, int | memoryview]


class GraphRefused(ValueError):
    """A graph with something that a bundle's graph never has."""


def inspect(content: bytes) -> None:
    """Raises GraphRefused for external data, foreign operators, functions, control flow, and constants that are not there in full."""
    model = list(_fields(memoryview(content)))
    graphs = [value for number, value in model if number == _MODEL["graph"]]
    if len(graphs) != 1:
        raise GraphRefused(f"{len(graphs)} graphs; allowed: one")
    if any(number == _MODEL["function"] for number, _ in model):
        raise GraphRefused("functions of its own; allowed: operators of the ONNX standard")
    for number, value in model:
        if number == _MODEL["opset"]:
            _domain(_string(_all(_view(value), 1)))
    _graph(_view(graphs[0]), 0)


def _graph(view: memoryview, depth: int) -> int:
    """The number of nodes, those of inner graphs included."""
    if depth > MAX_DEPTH:
        raise GraphRefused(f"graphs nested deeper than {MAX_DEPTH}")
    nodes = 0
    for number, value in _fields(view):
        if number == _GRAPH["node"]:
            nodes += 1 + _node(_view(value), depth)
        elif number == _GRAPH["initializer"]:
            _tensor(_view(value))
        elif number == _GRAPH["sparse"]:
            raise GraphRefused("sparse constants; allowed: dense ones")
        if nodes > MAX_NODES:
            raise GraphRefused(f"more than {MAX_NODES} operators")
    return nodes


def _node(view: memoryview, depth: int) -> int:
    nodes = 0
    for number, value in _fields(view):
        if number == _NODE["domain"]:
            _domain(_text(value))
        elif number == _NODE["operator"] and _text(value) in _FOREIGN:
            raise GraphRefused(f"operator {_text(value)!r}; a network without control flow needs none")
        elif number == _NODE["attribute"]:
            for inner, found in _fields(_view(value)):
                if inner in (_ATTRIBUTE["tensor"], _ATTRIBUTE["tensors"]):
                    _tensor(_view(found))
                elif inner in (_ATTRIBUTE["graph"], _ATTRIBUTE["graphs"]):
                    nodes += _graph(_view(found), depth + 1)
                elif inner in (_ATTRIBUTE["sparse"], _ATTRIBUTE["sparses"]):
                    raise GraphRefused("sparse constants; allowed: dense ones")
    return nodes


def _tensor(view: memoryview) -> None:
    """A constant must hold as many values as its shape says: a few bytes that ask for gigabytes are refused here."""
    dims: list[int] = []
    kind = held = 0
    for number, value in _fields(view):
        if number in (_TENSOR["external"], _TENSOR["location"]) and value != 0:
            raise GraphRefused("constants in another file; allowed: constants inside of the graph")
        if number == _TENSOR["dims"]:
            dims += _integers(value)
        elif number == _TENSOR["type"] and isinstance(value, int):
            kind = value
        elif number == _TENSOR["raw"]:
            held += len(_view(value)) * 8
        elif number in (_TENSOR["floats"], _TENSOR["int32s"], _TENSOR["int64s"], _TENSOR["doubles"]):
            held += _typed_bits(number, value, kind)
    if any(dim < 0 for dim in dims) or math.prod(dims) > MAX_VALUES:
        raise GraphRefused(f"a constant of shape {dims[:8]}; allowed: at most {MAX_VALUES} values")
    if kind not in _BITS:
        raise GraphRefused(f"a constant of type {kind}; allowed: numbers")
    needed = math.prod(dims) * _BITS[kind]
    if not needed <= held < needed + 8:
        raise GraphRefused(f"a constant of shape {dims[:8]} with {held // 8} bytes; it needs {math.ceil(needed / 8)}")


def _typed_bits(number: int, value: int | memoryview, kind: int) -> int:
    """Bits of the values in a typed field, which packs fixed widths (floats, doubles) or varints (the integers)."""
    fixed = {_TENSOR["floats"]: 4, _TENSOR["doubles"]: 8}.get(number)
    if isinstance(value, int):
        return _BITS.get(kind, 0)
    return (len(value) // fixed if fixed else len(_integers(value))) * _BITS.get(kind, 0)


def _domain(domain: str) -> None:
    if domain not in DOMAINS:
        raise GraphRefused(f"operators of {domain[:40]!r}; allowed: those of the ONNX standard")


def _fields(view: memoryview) -> Iterator[Field]:
    """Each field of a message: its number, and its integer or its bytes."""
    at, end = 0, len(view)
    while at < end:
        tag, at = _varint(view, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(view, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(view, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise GraphRefused(f"not an ONNX file: field type {wire}")
        if at + size > end:
            raise GraphRefused("not an ONNX file, or cut off")
        yield number, view[at : at + size]
        at += size


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(view) and shift < 64:
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value - (1 << 64) if value >> 63 else value, at
    raise GraphRefused("not an ONNX file, or cut off")


def _integers(value: int | memoryview) -> list[int]:
    """A repeated integer field, packed or not."""
    if isinstance(value, int):
        return [value]
    found, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        found.append(number)
    return found


def _all(view: memoryview, wanted: int) -> list[int | memoryview]:
    return [value for number, value in _fields(view) if number == wanted]


def _string(values: list[int | memoryview]) -> str:
    return _text(values[-1]) if values else ""


def _text(value: int | memoryview) -> str:
    return bytes(_view(value)).decode("utf-8", "replace")


def _view(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise GraphRefused("not an ONNX file: a number where a message belongs")
    return value
