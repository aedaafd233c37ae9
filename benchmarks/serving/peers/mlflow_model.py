"""A pyfunc model of MLflow, served by `mlflow models serve`; run as a program it saves the model into a folder."""

import base64
import sys
from pathlib import Path
from typing import Any

import mlflow

ROOT = Path(__file__).parents[3]


class Films(mlflow.pyfunc.PythonModel):
    """Rows of base64 → answers."""

    def load_context(self, context: Any) -> None:
        sys.path.insert(0, str(ROOT))
        from benchmarks.serving.peers.pipeline import Predictor

        self.predictor = Predictor()

    def predict(self, context: Any, model_input: Any, params: Any = None) -> list[dict[str, Any]]:
        return [self.predictor.predict(base64.b64decode(row)) for row in model_input["data"]]


if __name__ == "__main__":
    mlflow.pyfunc.save_model(sys.argv[1], python_model=Films(), pip_requirements=["mlflow"])
