"""A graph as MLflow's onnx flavour, so that any stock client can load what the registry holds with `mlflow.onnx.load_model`."""

from collections.abc import Sequence
from pathlib import Path

import mlflow.onnx
import numpy as np
import onnx
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

Tensor = tuple[str, str, tuple[int, ...]]  # name, numpy type, shape with -1 for a free axis


def save(graph: Path, folder: Path, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
    """Write a new `folder` with the graph and MLflow's description of it."""
    mlflow.onnx.save_model(
        onnx.load(graph),
        folder,
        signature=ModelSignature(inputs=_schema(inputs), outputs=_schema(outputs)),
        pip_requirements=["onnxruntime"],  # said, because inferring it runs pip for half a minute
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )


def _schema(tensors: Sequence[Tensor]) -> Schema:
    return Schema([TensorSpec(np.dtype(kind), shape, name) for name, kind, shape in tensors])
