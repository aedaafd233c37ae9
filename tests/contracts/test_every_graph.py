"""What every exported graph keeps to: the logits that torch computes for any number of films, beside them and only when asked for the
evidence that autograd computes, and nothing of the machine it was made on."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from cxr.engine import EVIDENCE
from tests.contracts.test_every_evidence import TASKS, grad_cam, network_of
from training.learning.backbones import NAMES
from training.learning.fitting import predict
from training.learning.network import create, export_onnx

NAMED = [task.name for task in TASKS]
# An export takes seconds to a minute.
QUICK = ("resnet18", "shufflenet_v2_x0_5")
SLOW = ("densenet161", "densenet169", "densenet201", "efficientnet_b1_pruned", "resnet101", "wide_resnet50_2")


def session_of(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def marks(name: str) -> tuple[pytest.MarkDecorator, ...]:
    return () if name in QUICK else (pytest.mark.slow if name in SLOW else pytest.mark.long,)


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in NAMES])
def test_the_exported_graph_computes_logits_and_evidence_as_torch_does_for_any_number_of_films(name: str, tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    network, films = network_of(name, 64, 5)
    logits, evidence = predict(network, films[:, 0].numpy()), grad_cam(network, films)
    export_onnx(network, 64, path)
    session = session_of(path)
    assert [one.name for one in session.get_outputs()] == [*NAMED, *(EVIDENCE + task for task in NAMED)]
    for n in (1, 5):
        given = {"film": films[:n].numpy()}
        for task, got in zip(NAMED, session.run(NAMED, given), strict=True):
            np.testing.assert_allclose(got, logits[task][:n], rtol=1e-3, atol=1e-4)
        for task, got in zip(NAMED, session.run([EVIDENCE + task for task in NAMED], given), strict=True):
            wanted = evidence[task][:n].numpy()
            np.testing.assert_allclose(got, wanted, rtol=1e-2, atol=1e-3 * np.abs(wanted).max())
    assert str(Path(__file__).parents[2]).encode() not in path.read_bytes()


@pytest.mark.long
def test_a_network_that_sees_scrambled_films_shows_no_places(tmp_path: Path) -> None:
    network = create("shufflenet_v2_x0_5", "scratch", TASKS, hidden=16, dropout=0.5, seed=0, channels="scrambled")
    export_onnx(network, 64, tmp_path / "network.onnx")
    assert [one.name for one in session_of(tmp_path / "network.onnx").get_outputs()] == NAMED
