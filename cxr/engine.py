"""Films → calibrated probabilities."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cxr.graphs import EngineName, Graph, Precision
from cxr.tasks import Task

EVIDENCE = "evidence_"  # in front of a task's name: the graph's output that shows where its answer was seen


class Engine:
    """The network's graph with one output of logits per task, and the temperature that calibrates each.

    Input "film" uint8 (N, 1, S, S): scaling and normalisation are inside the graph.
    """

    def __init__(
        self,
        graph: bytes,
        tasks: Sequence[Task],
        temperatures: Mapping[str, float],
        threads: int = 1,
        engine: EngineName = "onnxruntime",
        precision: Precision = "float32",
        streams: int = 1,
    ) -> None:
        self._tasks = tuple(tasks)
        self._temperatures = {task.name: temperatures[task.name] for task in tasks}
        self.graph = Graph(graph, engine, precision, threads, streams)
        missing = {task.name for task in tasks} - set(self.graph.outputs)
        if missing:
            raise ValueError(f"the network's graph has no output named {', '.join(sorted(missing))}")

    @property
    def explains(self) -> bool:
        """Whether the graph has evidence for every task; graphs made before it was exported have none."""
        return {EVIDENCE + task.name for task in self._tasks} <= set(self.graph.outputs)

    def probabilities(self, films: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
        """Films (N, S, S) uint8 → {task: (N, classes) calibrated probabilities that sum to 1}."""
        names = [task.name for task in self._tasks]
        return self._calibrated(self.graph.run(names, {"film": films[:, None]}))

    def explained(self, films: NDArray[np.uint8]) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float32]]]:
        """The same, and {task: (N, classes, h, w)}: what each place adds to each logit. Only where it `explains`."""
        names = [task.name for task in self._tasks]
        found = self.graph.run([*names, *(EVIDENCE + name for name in names)], {"film": films[:, None]})
        return self._calibrated(found[: len(names)]), dict(zip(names, found[len(names) :], strict=True))

    def _calibrated(self, logits: Sequence[NDArray[np.floating]]) -> dict[str, NDArray[np.float64]]:
        names = (task.name for task in self._tasks)
        return {name: softmax(out, self._temperatures[name]) for name, out in zip(names, logits, strict=True)}


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Logits (N, C) → probabilities (N, C) at a temperature (1 = as trained, above 1 = less sure)."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled -= scaled.max(axis=-1, keepdims=True)
    odds = np.exp(scaled)
    probabilities: NDArray[np.float64] = odds / odds.sum(axis=-1, keepdims=True)
    return probabilities
