"""The same pipeline as one writes it with torch: our own preparation, eager networks, whatever number of threads torch takes."""

import os
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.serving.networks import SPEC, TASKS, classifier, lungs
from cxr.pipeline import prepare


class TorchSegmenter:
    """What `cxr.pipeline` asks of a segmenter."""

    digest = "torch"

    def __init__(self, unet: str) -> None:
        self._network = lungs(unet)

    def probability(self, gray: NDArray[np.uint8]) -> NDArray[np.float32]:
        small = np.asarray(Image.fromarray(gray).resize((256, 256), Image.Resampling.BILINEAR), dtype=np.float32) / 255
        with torch.inference_mode():
            found: NDArray[np.float32] = self._network(torch.from_numpy(small)[None, None])[0, 0].numpy()
        return found


class Predictor:
    """Bytes of a film → the JSON that is answered. `BENCH_BACKBONE` and `BENCH_UNET` name the networks."""

    def __init__(self) -> None:
        self._segmenter = TorchSegmenter(os.environ["BENCH_UNET"])
        self._network = classifier(os.environ["BENCH_BACKBONE"])

    def predict(self, data: bytes) -> dict[str, Any]:
        film = prepare(data, SPEC, self._segmenter)
        with torch.inference_mode():
            logits = self._network(torch.tensor(film.pixels)[None, None])
        shares = {task.name: torch.softmax(logits[task.name][0], 0).tolist() for task in TASKS}
        return {"probabilities": shares, "box": list(film.box), "verdict": film.verdict}
