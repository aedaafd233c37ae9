"""Films → calibrated probabilities, on ONNX Runtime."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from cxr.segmentation import session_options
from cxr.tasks import Task


class Engine:
    """The network's graph with one output of logits per task, and the temperature that calibrates each.

    Input "film" uint8 (N, 1, S, S): scaling and normalisation are inside the graph.
    """

    def __init__(self, graph: bytes, tasks: Sequence[Task], temperatures: Mapping[str, float], threads: int = 1) -> None:
        self._tasks = tuple(tasks)
        self._temperatures = {task.name: temperatures[task.name] for task in tasks}
        self._session = onnxruntime.InferenceSession(graph, session_options(threads), providers=["CPUExecutionProvider"])
        missing = {task.name for task in tasks} - {output.name for output in self._session.get_outputs()}
        if missing:
            raise ValueError(f"the network's graph has no output named {', '.join(sorted(missing))}")

    def probabilities(self, films: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
        """Films (N, S, S) uint8 → {task: (N, classes) calibrated probabilities that sum to 1}."""
        names = [task.name for task in self._tasks]
        logits = self._session.run(names, {"film": films[:, None]})
        return {name: softmax(out, self._temperatures[name]) for name, out in zip(names, logits, strict=True)}


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Logits (N, C) → probabilities (N, C) at a temperature (1 = as trained, above 1 = less sure)."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled -= scaled.max(axis=-1, keepdims=True)
    odds = np.exp(scaled)
    probabilities: NDArray[np.float64] = odds / odds.sum(axis=-1, keepdims=True)
    return probabilities
