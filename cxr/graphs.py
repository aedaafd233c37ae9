"""One ONNX graph on one engine: ONNX Runtime or OpenVINO, in a stated precision, on a stated number of threads.

What both engines do by default costs a factor of two or changes answers, so it is settled here once: ONNX Runtime's threads spin
while they wait for the next run, OpenVINO pins every process to the same first core and computes in bfloat16 where the processor can.
"""

import hashlib
import importlib
import importlib.util
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any, Literal, NamedTuple, get_args
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

EngineName = Literal["onnxruntime", "openvino"]
Precision = Literal["float32", "bfloat16", "int8"]
Feeds = Mapping[str, NDArray[Any]]
Run = Callable[[Sequence[str], Feeds], list[NDArray[Any]]]

ENGINES: tuple[EngineName, ...] = get_args(EngineName)
PRECISIONS: dict[EngineName, tuple[Precision, ...]] = {
    "onnxruntime": ("float32", "int8"),
    "openvino": ("float32", "bfloat16", "int8"),
}
_CONVERTER = "openvino.tools.ovc"
# What OpenVINO has read and a graph still holds, by the digest of its content: one set of constants, however often it is compiled.
_READ: WeakValueDictionary[str, Any] = WeakValueDictionary()
_READING, _IMPORTING = threading.Lock(), threading.Lock()


class Way(NamedTuple):
    """How a graph is computed."""

    engine: EngineName
    precision: Precision

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


class Graph:
    """A loaded graph, warm, that may be run from several threads at once: up to `streams` of them compute side by side, each on
    `threads` threads.

    `inputs` maps a name to its shape, None where an axis is free; `outputs` are names. `precision` is how it is computed: "int8"
    says that the graph itself holds quantised weights, and what is not quantised in it is computed in float32.
    """

    def __init__(
        self,
        content: bytes,
        engine: EngineName = "onnxruntime",
        precision: Precision = "float32",
        threads: int = 1,
        streams: int = 1,
    ) -> None:
        if engine not in ENGINES:
            raise ValueError(f"engine {engine!r}: choose one of {', '.join(ENGINES)}")
        if precision not in PRECISIONS[engine]:
            raise ValueError(f"precision {precision!r} on {engine}: choose one of {', '.join(PRECISIONS[engine])}")
        if threads < 1 or streams < 1:
            raise ValueError(f"{threads} threads on {streams} streams: at least 1 of each")
        if engine not in installed():
            raise RuntimeError(f"engine {engine!r} is not installed here; installed: {', '.join(installed()) or 'none'}")
        self.engine, self.precision, self.threads = engine, precision, threads
        load = _openvino if engine == "openvino" else _onnxruntime
        self.inputs, kinds, self.outputs, self._run = load(content, precision, threads, streams)
        blank = {name: np.zeros([axis or 1 for axis in shape], kinds[name]) for name, shape in self.inputs.items()}
        self.run(self.outputs, blank)

    def run(self, outputs: Sequence[str], feeds: Feeds) -> list[NDArray[Any]]:
        """The named outputs, in that order, as arrays of their own. `feeds` has one array per input."""
        return self._run(outputs, feeds)


def installed() -> tuple[EngineName, ...]:
    """The engines that can be imported here."""
    return tuple(name for name in ENGINES if importlib.util.find_spec(name))


_Loaded = tuple[dict[str, tuple[int | None, ...]], dict[str, Any], tuple[str, ...], Run]  # shapes, types, outputs, run


def _onnxruntime(content: bytes, precision: Precision, threads: int, streams: int) -> _Loaded:
    """Callers of one thread each need no streams here: a session computes on the thread that calls it.

    Several threads spin within a run, where the next node comes in microseconds (a run takes 0.87 of the time it takes without), and
    sleep between runs, where they would take the cores from whatever else computes.
    """
    import onnxruntime  # here, as below: a process needs one engine, and each takes tenths of a second to import

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # an arena per session, grown by doubling: 56 MB that the allocator serves as fast
    options.enable_mem_pattern = False  # all that a run needs as one block per run, 13 MB: one tensor at a time is as fast
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads > 1 else "0")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    session._model_bytes = None  # kept to begin anew with other providers, which is never done: 28 MB of a densenet121
    kinds = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}
    inputs = session.get_inputs()
    shapes = {one.name: tuple(axis if isinstance(axis, int) else None for axis in one.shape) for one in inputs}
    names = tuple(one.name for one in session.get_outputs())
    return shapes, {one.name: kinds[one.type] for one in inputs}, names, lambda outputs, feeds: session.run(list(outputs), feeds)


def _openvino(content: bytes, precision: Precision, threads: int, streams: int) -> _Loaded:
    """Each stream is a compiled model of its own: streams of one model hand every run to threads of OpenVINO's and back, which cost a
    sixth of the films that two of them answered on two cores."""
    openvino = _quiet_openvino()
    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    digest = hashlib.sha256(content).hexdigest()
    with _READING:
        model = _READ.setdefault(digest, _READ.get(digest) or core.read_model(content))
    compiled = [core.compile_model(model, "CPU", settings) for _ in range(streams)]
    turns = cycle(compiled)
    idle: deque[Any] = deque()  # a request must not be run twice at once, and costs more to make than to keep

    def run(outputs: Sequence[str], feeds: Feeds, held: Any = model) -> list[NDArray[Any]]:  # held, so that _READ still has it
        try:
            request = idle.pop()
        except IndexError:
            request = next(turns).create_infer_request()
        try:
            found = request.infer(feeds, share_inputs=True, share_outputs=True)
            return [np.array(found[name]) for name in outputs]
        finally:
            idle.append(request)

    inputs, outputs = compiled[0].inputs, compiled[0].outputs
    shapes = {one.any_name: tuple(axis.get_length() if axis.is_static else None for axis in one.partial_shape) for one in inputs}
    kinds = {one.any_name: one.element_type.to_dtype().type for one in inputs}
    return shapes, kinds, tuple(one.any_name for one in outputs), run


def _quiet_openvino() -> Any:
    """OpenVINO without its converter, whose mere import reports to its makers over the network."""
    with _IMPORTING:  # graphs are compiled side by side, and `sys.modules` has a module before it is whole
        if "openvino" not in sys.modules:
            sys.modules[_CONVERTER] = None  # type: ignore[assignment]  # documented: importing it then fails, and OpenVINO goes on
            try:
                importlib.import_module("openvino")
            finally:
                del sys.modules[_CONVERTER]
        openvino: Any = sys.modules["openvino"]
        # Its bindings look for NumPy with the first type that they translate. Two threads that do so at once wait for each other for
        # ever: one holds their guard and wants the interpreter, the other has the interpreter and wants the guard.
        openvino.Type.f32.to_dtype()
        return openvino
