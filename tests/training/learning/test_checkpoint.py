"""Checkpoints: whole or not there, whatever is killed when and whatever the disk says."""

import errno
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.learning import checkpoint
from training.learning.checkpoint import NEWEST, PREVIOUS, DiskFull, load, save

REPO = Path(__file__).parents[3]
WRITER = """
import sys, torch
from pathlib import Path
from training.learning.checkpoint import save
for i in range(10**6):
    save(Path(sys.argv[1]), {"epoch": i, "weights": torch.full((200_000,), float(i))})
    print(i, flush=True)
"""


def state(epoch: int) -> dict[str, object]:
    return {"epoch": epoch, "weights": torch.full((64,), float(epoch)), "history": [{"val_loss": 0.5}], "best": None}


def test_what_was_saved_last_is_loaded_and_the_one_before_is_kept(tmp_path: Path) -> None:
    assert load(tmp_path) is None
    for epoch in (1, 2, 3):
        save(tmp_path, state(epoch))
    assert load(tmp_path)["epoch"] == 3
    (tmp_path / NEWEST).unlink()
    assert load(tmp_path)["epoch"] == 2
    assert {path.name for path in tmp_path.iterdir()} == {PREVIOUS}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["flip", "cut", "empty"]))
def test_any_damage_is_noticed(tmp_path_factory: pytest.TempPathFactory, place: int, damage: str) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    save(folder, state(1))
    save(folder, state(2))
    content = bytearray((folder / NEWEST).read_bytes())
    place %= len(content)
    content[place] ^= 1
    (folder / NEWEST).write_bytes({"flip": bytes(content), "cut": bytes(content[:place]), "empty": b""}[damage])
    assert load(folder)["epoch"] == 1
    save(folder, state(3))
    assert load(folder)["epoch"] == 3


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_refuses_leaves_the_old_checkpoint_and_no_litter(
    step: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, state(1))

    def refuse(*_: object) -> None:
        raise OSError(code, "refused")

    monkeypatch.setattr(*((checkpoint.os, "fsync") if step == "fsync" else (Path, "replace")), refuse)
    with pytest.raises(DiskFull if code == errno.ENOSPC else OSError) as caught:
        save(tmp_path, state(2))
    monkeypatch.undo()
    assert caught.value.errno == code
    assert load(tmp_path)["epoch"] == 1
    assert {path.name for path in tmp_path.iterdir()} <= {NEWEST, PREVIOUS}


def test_nothing_in_a_checkpoint_is_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    save(tmp_path, {"epoch": 1, "evil": Evil()})
    with pytest.raises(Exception, match="Weights only load failed"):
        load(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("rounds", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_a_writer_killed_at_any_moment_leaves_a_checkpoint_that_is_not_older_than_it_said(rounds: int, tmp_path: Path) -> None:
    seed = 20261123
    moments = random.Random(seed)
    for i in range(rounds):
        folder = tmp_path / str(i)
        writer = subprocess.Popen([sys.executable, "-c", WRITER, folder], cwd=REPO, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(moments.random() * 0.2)
        writer.send_signal(signal.SIGKILL)
        said = [int(line) for line in writer.stdout.read().split()]
        writer.wait()
        found = load(folder)
        assert found is not None, f"seed {seed}, round {i}"
        assert found["epoch"] >= max(said, default=0)
        assert torch.equal(found["weights"], torch.full((200_000,), float(found["epoch"])))
