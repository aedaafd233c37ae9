"""A unit's folder on this machine: torn lines, two writers, and readers that come while it goes."""

import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr import durable
from training.protocol import desk as module
from training.protocol.desk import MANIFEST, WEIGHTS, Desk, Epoch, sweep

CONTEXT = multiprocessing.get_context("fork")


def opened(home: Path, name: str = "unit") -> Desk:
    desk = Desk(home, name)
    desk.open()
    return desk


def sealed(desk: Desk, content: bytes = b"weights") -> None:
    draft = desk.draft()
    (draft / WEIGHTS).write_bytes(content)
    desk.seal(draft, {"acc": 0.5}, {"mdmt.start": "scratch"})


def test_an_epoch_keeps_the_moment_it_was_first_noted_and_its_figures_to_the_bit(tmp_path: Path) -> None:
    desk = opened(tmp_path)
    desk.spool(1, {"loss": 0.1 + 0.2})
    (first,) = desk.epochs()
    desk.spool(1, {"loss": 0.1 + 0.2})
    desk.spool(2, {"loss": 1e-300})
    assert desk.epochs() == [first, Epoch(2, desk.epochs()[1].at, {"loss": 1e-300})]
    assert first.figures["loss"] == 0.1 + 0.2


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 400), epochs=st.integers(1, 4))
def test_a_file_cut_at_any_byte_loses_the_cut_line_only_and_takes_further_ones(
    cut: int, epochs: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    desk = opened(tmp_path_factory.mktemp("home"))
    for epoch in range(1, epochs + 1):
        desk.spool(epoch, {"train_loss": epoch / 3})
    path = desk.folder / "epochs.jsonl"
    before, whole = desk.epochs(), path.read_bytes()
    path.write_bytes(whole[:cut])
    kept = desk.epochs()
    assert kept == before[: len(kept)]
    assert len(kept) >= whole[:cut].count(b"\n") - 1
    for epoch in range(1, epochs + 2):
        desk.spool(epoch, {"train_loss": epoch / 3})
    assert [e.epoch for e in desk.epochs()] == list(range(1, epochs + 2))
    assert desk.epochs()[: len(kept)] == kept


def spool_all(home: Path) -> None:
    for epoch in range(1, 40):
        Desk(home, "unit").spool(epoch, {"loss": 1 / epoch})


def seal_one(home: Path) -> None:
    sealed(Desk(home, "unit"))


def at_once(target: Callable[[Path], None], home: Path, processes: int) -> None:
    started = [CONTEXT.Process(target=target, args=(home,)) for _ in range(processes)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0] * processes


def test_two_processes_that_note_the_same_epochs_leave_each_once_and_no_line_is_mixed(tmp_path: Path) -> None:
    desk = opened(tmp_path)
    at_once(spool_all, tmp_path, 2)
    assert [(e.epoch, e.figures["loss"]) for e in desk.epochs()] == [(i, 1 / i) for i in range(1, 40)]
    for line in filter(None, (desk.folder / "epochs.jsonl").read_text().splitlines()):
        assert json.loads(line).keys() == {"epoch", "at", "figures"}


def test_processes_that_seal_at_once_leave_one_whole_outcome(tmp_path: Path) -> None:
    desk = opened(tmp_path)
    at_once(seal_one, tmp_path, 6)
    outcome = desk.outcome
    assert outcome is not None
    assert outcome.sizes == {WEIGHTS: len(b"weights")}
    assert sorted(path.name for path in desk.folder.iterdir()) == ["outcome"]


def test_who_seals_second_gets_the_outcome_that_stands(tmp_path: Path) -> None:
    desk = opened(tmp_path)
    sealed(desk, b"first")
    sealed(desk, b"second, longer")
    outcome = desk.outcome
    assert outcome is not None
    assert (outcome.folder / WEIGHTS).read_bytes() == b"first"
    assert (outcome.figures, outcome.tags) == ({"acc": 0.5}, {"mdmt.start": "scratch"})
    assert not desk.checkpoints.exists()


def test_an_outcome_without_its_manifest_is_none(tmp_path: Path) -> None:
    desk = opened(tmp_path)
    draft = desk.draft()
    (draft / WEIGHTS).write_bytes(b"w")
    assert desk.outcome is None
    assert desk.draft() == draft
    assert list(draft.iterdir()) == []  # what a killed attempt of the same number left is gone


@pytest.mark.parametrize("step", ["sync_file", "write", "rename"])
def test_a_disk_that_fills_up_while_sealing_leaves_no_outcome_and_the_checkpoint(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = opened(tmp_path)
    durable.write(desk.checkpoints / "checkpoint", b"epoch 3")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full) if step == "rename" else patch.setattr(module.durable, step, full)
        with pytest.raises(OSError, match="No space left"):
            sealed(desk)
    assert desk.outcome is None
    assert (desk.checkpoints / "checkpoint").read_bytes() == b"epoch 3"
    sealed(desk)
    assert desk.outcome is not None


def test_a_reader_that_has_linked_the_weights_keeps_them_when_the_desk_is_cleared(tmp_path: Path) -> None:
    desk = opened(tmp_path)
    sealed(desk)
    copy = tmp_path / "copy"
    os.link(desk.folder / "outcome" / WEIGHTS, copy)
    desk.clear()
    desk.clear()  # by whoever comes second
    assert copy.read_bytes() == b"weights"
    assert desk.outcome is None
    assert desk.run_id is None
    assert desk.epochs() == []
    assert list((tmp_path / "units").iterdir()) == []


def clear_soon(home: Path) -> None:
    Desk(home, "unit").clear()


def test_a_reader_finds_a_whole_outcome_or_none_while_it_is_cleared(tmp_path: Path) -> None:
    for i in range(20):
        desk = opened(tmp_path)
        sealed(desk, b"w" * 100_000)
        process = CONTEXT.Process(target=clear_soon, args=(tmp_path,))
        process.start()
        copy = tmp_path / f"copy-{i}"
        try:
            os.link(desk.folder / "outcome" / WEIGHTS, copy)
        except FileNotFoundError:
            assert not copy.exists()
        else:
            assert copy.stat().st_size == 100_000
        process.join()


def test_the_desks_of_finished_units_and_what_half_a_clearing_left_are_swept(tmp_path: Path) -> None:
    for name in ("finished", "unfinished"):
        opened(tmp_path, name).remember_run("run")
    (tmp_path / "units" / ".finished.17" / "outcome").mkdir(parents=True)
    sweep(tmp_path, {"finished", "never begun"})
    assert [path.name for path in (tmp_path / "units").iterdir()] == ["unfinished"]
    assert Desk(tmp_path, "unfinished").run_id == "run"
    sweep(tmp_path / "no home", {"finished"})


def test_a_manifest_lists_every_file_with_its_size(tmp_path: Path) -> None:
    desk = opened(tmp_path)
    sealed(desk)
    assert json.loads((desk.folder / "outcome" / MANIFEST).read_text())["sizes"] == {WEIGHTS: 7}
