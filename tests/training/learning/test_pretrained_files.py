"""Files of weights from elsewhere: only tensors are read, whatever the format, and whatever is wrong with the file is one named refusal."""

import pickle
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from training.imagenet import WeightsRefused
from training.learning.backbones import check
from training.learning.backbones.pretrained import read

STATE = {"a.weight": torch.arange(12.0).reshape(4, 3), "a.num_batches_tracked": torch.tensor(3)}
FORMATS = ("today.pth", "old.pth", "weights.safetensors")


def written(folder: Path, kind: str) -> Path:
    path = folder / kind
    if kind.endswith(".safetensors"):
        save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=kind != "old.pth")
    return path


class Harmful:
    """Makes a file when it is unpickled by something that runs what it reads."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.mark), "w")


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_to_the_bit(kind: str, tmp_path: Path) -> None:
    found = read(written(tmp_path, kind))
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], value) for name, value in STATE.items())


def test_a_checkpoint_gives_its_state_dict(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": STATE}, tmp_path / "checkpoint.pth")
    assert read(tmp_path / "checkpoint.pth").keys() == STATE.keys()


@pytest.mark.parametrize("content", [{}, [1.0], {"epoch": 3}, torch.zeros(2)])
def test_a_file_without_named_tensors_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(WeightsRefused, match="a dictionary of names and tensors is needed"):
        read(tmp_path / "other.pth")


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"fc.weight": Harmful(mark)}, protocol=2))
    torch.save({"fc.weight": Harmful(mark)}, tmp_path / "packed.pth")
    for name in ("plain.pth", "packed.pth"):
        with pytest.raises(WeightsRefused, match="holds more than tensors"):
            read(tmp_path / name)
    assert not mark.exists()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    kind=st.sampled_from(FORMATS),
    end=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
)
def test_a_damaged_file_is_refused_or_still_gives_tensors(
    kind: str, end: float, changes: list[tuple[float, int]], tmp_path: Path
) -> None:
    path = written(tmp_path, kind)
    content = bytearray(path.read_bytes())
    for where, value in changes:
        content[int(where * len(content))] = value
    path.write_bytes(content[: int(end * len(content))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch wonders aloud about pickle protocols
        try:
            found = read(path)
        except WeightsRefused:
            return
    assert all(isinstance(value, torch.Tensor) for value in found.values())


def test_the_check_says_the_reason_and_never_only_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(STATE, tmp_path / "other.pth")
    for name, file, said in (
        ("resnet18", "other.pth", "do not fit resnet18"),
        ("resnet18", "absent.pth", "absent.pth is not a file"),
        ("resnet19", "other.pth", "unknown backbone 'resnet19'"),
    ):
        assert check.main([name, str(tmp_path / file)]) == 1
        assert said in capsys.readouterr().err
