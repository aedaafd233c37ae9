"""Checkpoints: whole or not there, whatever is killed, damaged or full; and never code."""

import errno
import hashlib
import io
import multiprocessing
import os
import pickle
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from training.learning import checkpoint
from training.learning.checkpoint import NEWEST, PREVIOUS, DiskFull, load, save

ROUNDS = 20


def state(n: int, size: int = 64) -> dict[str, object]:
    """A state whose every part says n."""
    return {"epoch": n, "history": [{"loss": 1 / n}] * n, "weights": torch.full((size, 4, 3, 3), float(n)), "best": None}


def number(folder: Path) -> int:
    found = load(folder)
    assert found is not None
    n = int(found["epoch"])
    assert found["history"] == state(n)["history"]
    assert bool((found["weights"] == n).all())
    return n


def test_what_is_saved_comes_back_with_its_types_its_bits_and_its_memory_layout(tmp_path: Path) -> None:
    weight = torch.randn(8, 4, 3, 3).to(memory_format=torch.channels_last)
    save(tmp_path / "new" / "folder", {"w": weight, "best": float("inf"), "epoch": 3, "who": "τ", "rng": torch.get_rng_state()})
    found = load(tmp_path / "new" / "folder")
    assert found is not None
    assert torch.equal(found["w"], weight)
    assert found["w"].stride() == weight.stride()
    assert (found["best"], found["epoch"], found["who"]) == (float("inf"), 3, "τ")
    assert torch.equal(found["rng"], torch.get_rng_state())


def test_a_folder_that_is_not_there_or_empty_holds_no_checkpoint(tmp_path: Path) -> None:
    assert load(tmp_path / "absent") is None
    assert load(tmp_path) is None


def test_the_newest_is_loaded_and_the_one_before_is_kept_and_no_other_file(tmp_path: Path) -> None:
    for n in (1, 2, 3):
        save(tmp_path, state(n))
    assert number(tmp_path) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([NEWEST, PREVIOUS])
    (tmp_path / NEWEST).unlink()
    assert number(tmp_path) == 2


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("saved")
    save(folder, state(2))
    return (folder / NEWEST).read_bytes()


@given(st.data())
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_flipped_bit_anywhere_is_noticed_and_the_one_before_is_used(
    saved: bytes, tmp_path: Path, data: st.DataObject
) -> None:
    save(tmp_path, state(1))
    (tmp_path / NEWEST).replace(tmp_path / PREVIOUS)
    place, bit = data.draw(st.integers(0, len(saved) - 1)), data.draw(st.integers(0, 7))
    (tmp_path / NEWEST).write_bytes(saved[:place] + bytes([saved[place] ^ 1 << bit]) + saved[place + 1 :])
    assert number(tmp_path) == 1


@given(st.data())
@hypothesis_settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_cut_short_or_with_something_behind_it_is_noticed(saved: bytes, tmp_path: Path, data: st.DataObject) -> None:
    end = data.draw(st.integers(0, len(saved) - 1))
    (tmp_path / NEWEST).write_bytes(data.draw(st.sampled_from([saved[:end], saved + b"\0"])))
    assert load(tmp_path) is None


def test_a_damaged_newest_is_named_in_the_log_and_never_takes_the_place_of_the_whole_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, state(1))
    save(tmp_path, state(2))
    (tmp_path / NEWEST).write_bytes(b"damaged")
    assert number(tmp_path) == 1
    assert "checkpoint.pt is damaged" in caplog.text
    save(tmp_path, state(2))
    assert number(tmp_path) == 2
    (tmp_path / NEWEST).unlink()
    assert number(tmp_path) == 1


class Malice:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, int]]:
        return os.mkdir, (str(self.target), 0o700)


def test_code_in_a_checkpoint_is_refused_and_not_run_even_with_a_fitting_digest(tmp_path: Path) -> None:
    content = io.BytesIO()
    torch.save({"epoch": Malice(tmp_path / "ran")}, content)
    body = content.getvalue()
    (tmp_path / NEWEST).write_bytes(body + hashlib.sha256(body).digest())
    with pytest.raises(pickle.UnpicklingError):
        load(tmp_path)
    assert not (tmp_path / "ran").exists()


# --- a full disk and other failures of the system ----------------------------------------------------------------------


def failing_write(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """The third write of torch fails, and every later one."""
    calls = iter(range(10**6))

    class Full(checkpoint._HashingFile):
        def write(self, data: bytes) -> int:
            if next(calls) >= 2:
                self.error = OSError(code, os.strerror(code))
            return super().write(data)

    monkeypatch.setattr(checkpoint, "_HashingFile", Full)


def failing_fsync(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(checkpoint.os, "fsync", fsync)


def failing_rename(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    renamed = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if self.name.endswith(".writing"):
            raise OSError(code, os.strerror(code))
        return renamed(self, target)

    monkeypatch.setattr(Path, "replace", replace)


@pytest.mark.parametrize("fail", [failing_write, failing_fsync, failing_rename])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_failure_at_any_step_leaves_the_old_checkpoint_and_nothing_half_written(
    fail: Callable[[pytest.MonkeyPatch, int], None], code: int, tmp_path: Path
) -> None:
    save(tmp_path, state(1))
    save(tmp_path, state(2))
    with pytest.MonkeyPatch.context() as patch:
        fail(patch, code)
        with pytest.raises(OSError) as caught:
            save(tmp_path, state(3))
    assert caught.value.errno == code
    assert isinstance(caught.value, DiskFull) == (code != errno.EIO)
    assert not list(tmp_path.glob("*.writing"))
    assert number(tmp_path) == 2
    save(tmp_path, state(3))
    assert number(tmp_path) == 3


def test_a_really_full_device_is_told_apart_and_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    save(tmp_path, state(1))
    opened = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, *mode: opened(Path("/dev/full") if self.name.endswith(".writing") else self, "r+b", 0)
    )
    with pytest.raises(DiskFull, match="free some space and run again"):
        save(tmp_path, state(2, size=4096))
    monkeypatch.undo()
    assert number(tmp_path) == 1


# --- kill -9 -----------------------------------------------------------------------------------------------------------


def _saving_without_end(folder: Path) -> None:
    found = load(folder)
    n = int(found["epoch"]) if found else 0
    while True:
        n += 1
        save(folder, state(n, size=4096))  # 0.6 MB: some moments fall into the writing
        (folder / "acknowledged").write_text(str(n))


def test_a_writer_killed_at_random_moments_always_leaves_the_last_checkpoint_it_acknowledged(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    seed = random.SystemRandom().randrange(10**6)
    moments = random.Random(seed)
    acknowledged = tmp_path / "acknowledged"
    for _ in range(ROUNDS):
        acknowledged.unlink(missing_ok=True)
        writer = context.Process(target=_saving_without_end, args=(tmp_path,))
        writer.start()
        while not acknowledged.exists():
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.03))
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        promised = int(acknowledged.read_text() or 0)
        assert number(tmp_path) >= promised, f"seed {seed}"
        assert not list(tmp_path.glob("*.writing"))
