"""BentoML with its default settings; started by `bentoml serve`."""

from pathlib import Path
from typing import Any

import bentoml

from benchmarks.serving.peers.pipeline import Predictor


@bentoml.service
class Films:
    """One film, one answer."""

    def __init__(self) -> None:
        self.predictor = Predictor()

    @bentoml.api
    def predict(self, file: Path) -> dict[str, Any]:
        return self.predictor.predict(file.read_bytes())
