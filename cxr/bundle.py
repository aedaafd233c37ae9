"""What the registry holds: one folder that alone can turn the bytes of a chest X-ray into a prediction.

    bundle.json        what this is: pipeline, tasks, calibration, golden case, lineage, and the SHA-256 of every file
    model.onnx         the network (the name that MLflow's onnx flavour expects)
    segmenter.onnx     the lung U-Net
    golden.png         a generated film (never a patient's) whose answer is known; golden-2.png and further likewise
    MODEL_CARD.md      for people
    weights.safetensors    the same network for further training
    gate.json          the input gate (`cxr.gate`), where one was fitted
    bundle.sig         who sealed it (`cxr.signature`), where a key was given

There is no pickle and no code in it, and loading imports neither MLflow nor torch: nothing of a bundle is ever executed. A folder with
anything else in it is refused, and a graph is looked at (`cxr.graph_inspection`) before an engine gets it.
"""

import copy
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr.close_calls import CloseCalls
from cxr.engine import Engine
from cxr.errors import FilmError
from cxr.gate import Gate, GateModel
from cxr.golden import GOLDEN_TOLERANCE, compare
from cxr.graph_inspection import GraphRefused, inspect
from cxr.graphs import EngineName, Precision, Way, installed
from cxr.host import cores
from cxr.manifest import (
    CARD,
    GATE,
    GOLDEN,
    MANIFEST,
    NETWORK,
    SEGMENTER,
    BundleError,
    Manifest,
    digest_of,
    read_manifest,
)
from cxr.pipeline import Film, prepare
from cxr.precision import Margins
from cxr.prediction import Prediction, TaskAnswer
from cxr.reading import Limits
from cxr.segmentation import OnnxSegmenter
from cxr.tasks import Task

TURNS, TIMED_RUNS = 3, 5  # runs of the golden film on each core in a turn, where engines are compared


class _Compiling(NamedTuple):
    """Graphs that are being compiled: the network, the U-Net in float32, and in the precision of a first look, if that is another."""

    network: Future[Engine]
    lungs: Future[OnnxSegmenter]
    quick: Future[OnnxSegmenter] | None = None


class Bundle:
    """A loaded bundle: `streams` predictions side by side on `threads` threads each, on an `engine` (default: the first installed).

    `alone` is the same bundle with its graphs on that many threads, for a prediction that is the only one; by default it is itself.
    `precision` is that of a first look for the lungs: float32 looks again where a lower one might crop otherwise (`cxr.close_calls`),
    within `margins` (default: those of the bundle's proof), and the network always computes in float32.
    """

    def __init__(
        self,
        folder: Path,
        threads: int = 1,
        engine: EngineName | None = None,
        streams: int = 1,
        alone: int | None = None,
        precision: Precision = "float32",
        margins: Margins | None = None,
    ) -> None:
        self.manifest = read_manifest(folder)
        self.digest = digest_of((folder / MANIFEST).read_bytes())
        self.tasks = tuple(_task(entry) for entry in self.manifest.tasks)
        self.gate = _gate(folder, self.manifest)
        self.precision, runs_on = precision, engine or installed()[0]
        if precision != "float32" and margins is None:
            proof = self.manifest.proofs.get(precision)
            margins = proof.margins if proof else None
            if margins is None:
                raise BundleError(f"the bundle has no proof of {precision} with margins: register it again with --prove")
        self._margins, self._streams = margins, streams
        cases = {GOLDEN: self.manifest.golden, **self.manifest.more_golden}
        self.golden = tuple(((folder / name).read_bytes(), case) for name, case in cases.items())
        self.card = (folder / CARD).read_text(encoding="utf-8")
        graphs = _graph(folder / SEGMENTER), _graph(folder / NETWORK)
        self._alone: Bundle | None = None  # not itself: its memory is to be given back with the last reference from outside
        try:
            # Engines compile without the interpreter's lock, and large networks for a second.
            with ThreadPoolExecutor(cores()) as pool:
                begun = self._compile(pool, *graphs, runs_on, threads, streams)
                if alone is not None and alone != threads:
                    self._alone = copy.copy(self)
                    self._alone._take(self._compile(pool, *graphs, runs_on, alone, 1))
                self._take(begun)
        except ValueError as error:
            raise BundleError(str(error), "shape") from error
        except (MemoryError, BundleError):
            raise
        except Exception as error:  # each engine raises classes of its own
            if "alloc" in str(error).lower():
                raise MemoryError("the engine has not the memory that the graphs ask for") from error
            raise BundleError(f"the engine does not load its graphs: {type(error).__name__}", "malformed") from error

    @property
    def alone(self) -> "Bundle":
        return self._alone or self

    def _compile(
        self, pool: Executor, segmenter: bytes, network: bytes, engine: EngineName, threads: int, streams: int
    ) -> "_Compiling":
        """The graphs on their way to be ready, the one that takes longest first."""
        of_network = pool.submit(Engine, network, self.tasks, self.manifest.temperatures, threads, engine, "float32", streams)
        precisions = dict.fromkeys(("float32", self.precision))
        of_lungs = [pool.submit(OnnxSegmenter, segmenter, threads, engine, precision, streams) for precision in precisions]
        return _Compiling(of_network, *of_lungs)

    def _take(self, begun: "_Compiling") -> None:
        self.engine, self.segmenter = begun.network.result(), begun.lungs.result()
        self.quick: CloseCalls | None = None
        if begun.quick is not None and self._margins is not None:
            self.quick = CloseCalls(begun.quick.result(), self.manifest.pipeline, self._margins)

    def prepare(self, data: bytes, limits: Limits | None = None, gated: bool = True) -> Film:
        """File content → Film, exactly as in training; `gated`, only what the input gate takes. Raises FilmError."""
        gate = self.gate if gated else None
        return prepare(data, self.manifest.pipeline, self.segmenter, limits, gate=gate, quick=self.quick)

    def predict(self, data: bytes, limits: Limits | None = None, gated: bool = True) -> Prediction:
        """File content → Prediction. Raises FilmError."""
        return self.predict_film(self.prepare(data, limits, gated))

    def predict_film(self, film: Film, explain: bool = False) -> Prediction:
        """A film prepared by this bundle's pipeline → Prediction; with its evidence where asked for and `engine.explains`."""
        if explain:
            probabilities, evidence = self.engine.explained(film.pixels[None])
        else:
            probabilities, evidence = self.engine.probabilities(film.pixels[None]), {}
        answers = {task.name: self._task_answer(task, probabilities[task.name][0]) for task in self.tasks}
        return Prediction(answers, film, {name: maps[0] for name, maps in evidence.items()})

    def _task_answer(self, task: Task, row: NDArray[np.float64]) -> TaskAnswer:
        best, values = int(row.argmax()), tuple(float(p) for p in row)
        limits = self.manifest.conformal.get(task.name)
        return TaskAnswer(task.classes[best], best, values, None if limits is None else limits.candidates(values))

    def check_golden(self) -> None:
        """Replay every golden case; raises BundleError when an answer is not the recorded one, or not of the tasks' shape."""
        self._check_shapes()
        proof = self.manifest.proofs.get(self.precision)
        tolerance = max(GOLDEN_TOLERANCE, proof.largest_change if proof else 0)
        with ThreadPoolExecutor(self._streams) as pool:
            try:  # not gated: a golden film is generated, none of a real cohort
                predictions = list(pool.map(lambda golden: self.predict(golden[0], gated=False), self.golden))
            except FilmError as error:
                raise BundleError(f"a golden film is not answered but refused ({error.code})", "golden") from error
        for prediction, (_, expected) in zip(predictions, self.golden, strict=True):
            compare(prediction, expected, tolerance)

    def _check_shapes(self) -> None:
        size = self.manifest.pipeline.size
        rows = self.engine.probabilities(np.zeros((1, size, size), np.uint8))
        for task in self.tasks:
            if rows[task.name].shape != (1, len(task.classes)):
                raise BundleError(
                    f"the network's output {task.name} has shape {rows[task.name].shape}; the task has {len(task.classes)} classes",
                    "shape",
                )


def time_golden(folder: str, way: Way) -> float:
    """Seconds per golden film with a prediction on every core, when it counts how fast they are: as films come, some are looked at
    twice. Raises BundleError where one is not answered as recorded."""
    bundle = Bundle(Path(folder), 1, way.engine, cores(), precision=way.precision)
    bundle.check_golden()
    once = min(_seconds(bundle, film) for film, _ in bundle.golden)
    if bundle.quick is None:
        return once
    bundle.quick = None
    return once + bundle.manifest.proofs[way.precision].rechecked * min(_seconds(bundle, film) for film, _ in bundle.golden)


def _seconds(bundle: Bundle, film: bytes) -> float:
    """The least of some turns: whatever else the machine does only makes a turn longer."""
    seconds = []
    with ThreadPoolExecutor(cores()) as pool:
        for _ in range(TURNS):
            started = perf_counter()
            for done in [pool.submit(bundle.predict, film, gated=False) for _ in range(TIMED_RUNS * cores())]:
                done.result()
            seconds.append((perf_counter() - started) / (TIMED_RUNS * cores()))
    return min(seconds)


def _graph(path: Path) -> bytes:
    """The content of a graph that may be given to an engine."""
    content = path.read_bytes()
    try:
        inspect(content)
    except GraphRefused as error:
        raise BundleError(f"{path.name} is not a graph that is served: {error}", "hostile") from error
    return content


def _gate(folder: Path, manifest: Manifest) -> Gate:
    if GATE not in manifest.files:
        return Gate()
    try:
        return Gate(GateModel.model_validate_json((folder / GATE).read_bytes()))
    except ValueError as error:  # of its fields, or of another revision; a ValidationError is one
        raise BundleError(
            f"{GATE} is not a gate that this service reads: {type(error).__name__}; register the bundle again"
        ) from error


def _task(entry: dict[str, Any]) -> Task:
    return Task(
        name=entry["name"],
        title=entry["title"],
        classes=tuple(entry["classes"]),
        meaning=tuple(entry["meaning"]),
        positive=entry["positive"],
        ranges=tuple((int(low), int(high)) for low, high in entry["ranges"]),
        ordinal=entry.get("ordinal", False),  # bundles of 0.1.0 do not say
    )
