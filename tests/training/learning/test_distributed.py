"""Several processes on one network: the training of one process, whatever ends one of them ends all, and a resume is exact."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cxr.tasks import PROGNOSIS, SEVERITY
from tests.training.learning.cut import Cut, cutter
from tests.training.learning.ranks import ROOT, together
from tests.training.learning.tiny import PLAIN, noise, tiny_network, tiny_samples, training
from training.learning.backbones.backbone import Backbone
from training.learning.checkpoint import NEWEST, ForeignCheckpoint
from training.learning.distributed import RankDied, TooFewGpus, fit_together
from training.learning.fitting import Fit, fit, predict
from training.learning.network import Network
from training.learning.team import Team
from training.settings import Training

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]  # many starts of torch, on cores that may be shared
History = list[dict[str, float]]
TOLERANCE = 1e-5  # relative, of every figure of every epoch; measured: 2e-7
# 30 films in batches of 8 leave 6, in batches of 14 leave 2: too few to be cut among two or more.
CASES: dict[str, dict[str, object]] = {
    "sum": {},
    "mean": {"reduction": "mean"},
    "a last batch too small to be cut": {"batch_size": 14},
    "mean, a last batch too small to be cut": {"batch_size": 14, "reduction": "mean"},
    "odd batches": {"batch_size": 7, "reduction": "mean"},
    "learned task weights": {"task_weighting": "uncertainty"},
    "balanced": {"mixing": "balanced", "task_weighting": "sample-count"},
    "squared error and smoothing": {"squared_error": ("prognosis",), "label_smoothing": 0.1, "schedule": "plateau"},
}
EPOCHS = 5


def plain_network() -> Network:
    """Without BatchNorm and dropout nothing depends on who computes a film."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Network(Backbone(nn.Sequential(*layers), 8, "random"), (PROGNOSIS, SEVERITY), hidden=8, dropout=0.0)


def settings(**changes: object) -> Training:
    return training(**{"max_epochs": EPOCHS, "batch_size": 8, "learning_rate": 1e-2, **changes})


def plain(team: Team, case: str) -> History:
    return fit(plain_network(), tiny_samples(30), tiny_samples(130, 1), settings(**CASES[case]), 3, team=team).history


def full(folder: Path, team: Team, keep_going: Callable[[], None] | None = None) -> Fit:
    """With BatchNorm and dropout, kept in `folder`."""
    return fit(
        tiny_network(), tiny_samples(30), tiny_samples(13, 1), settings(), 3,
        checkpoints=folder, identity="full", keep_going=keep_going, team=team,
    )  # fmt: skip


def digest(fitted: Fit) -> tuple[str, History]:
    sha = hashlib.sha256()
    for name, value in sorted(fitted.network.state_dict().items()):
        sha.update(name.encode() + value.numpy().tobytes())
    return sha.hexdigest(), fitted.history


def one_batch(network: Network, team: Team) -> Mapping[str, torch.Tensor]:
    """One step of nine films: no augmentation, and a learning rate that moves nothing."""
    fit(
        network,
        tiny_samples(9),
        tiny_samples(4, 1),
        settings(batch_size=9, max_epochs=1, learning_rate=1e-12, augmentation=PLAIN),
        0,
        team=team,
    )
    return {name: value for name, value in network.backbone.state_dict().items() if "running" in name}


def everything(team: Team, folder: Path) -> dict[str, Any]:
    """What one rank finds."""
    found: dict[str, Any] = {case: plain(team, case) for case in CASES}
    found["statistics"] = one_batch(tiny_network(), team)
    found["logits"] = predict(tiny_network(), noise(150), team=team)
    found["undisturbed"] = digest(full(folder / "undisturbed", team))
    with pytest.raises(Cut):
        full(folder / "resumed", team, cutter(4 + 1 + 4 + 1 + 2))  # four batches and a checkpoint an epoch: within the third
    found["resumed"] = digest(full(folder / "resumed", team))
    return found


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return together(2, everything, tmp_path_factory.mktemp("two"))


def furthest(one: History, other: History) -> float:
    """Largest relative difference of a figure."""
    assert [list(epoch) for epoch in one] == [list(epoch) for epoch in other]
    return max(abs(a[k] - b[k]) / max(abs(a[k]), 1e-12) for a, b in zip(one, other, strict=True) for k in a)


# --- the training of one process ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_have_the_losses_of_one_at_an_equal_batch(case: str, two: list[dict[str, Any]]) -> None:
    alone = plain(Team(), case)
    assert len(alone) == EPOCHS and len({epoch["train_loss"] for epoch in alone}) == EPOCHS
    assert furthest(alone, two[0][case]) < TOLERANCE


@pytest.mark.slow
def test_all_ranks_have_equal_results_to_the_bit(two: list[dict[str, Any]]) -> None:
    assert all(two[0][name] == two[1][name] for name in (*CASES, "undisturbed"))


@pytest.mark.slow
def test_a_resume_is_exact_to_the_bit_with_batchnorm_and_dropout(two: list[dict[str, Any]]) -> None:
    assert two[0]["resumed"] == two[0]["undisturbed"]


@pytest.mark.slow
def test_on_a_cpu_batchnorm_sees_the_part_of_a_process_and_averages_its_running_statistics(two: list[dict[str, Any]]) -> None:
    samples, parts = tiny_samples(9), []
    order = np.random.default_rng([0, 1]).permutation(9)
    for rows in (order[:4], order[4:]):
        network = tiny_network().train()
        network(torch.from_numpy(samples.films[rows])[:, None])
        parts.append(network.backbone.state_dict())
    for name, value in two[0]["statistics"].items():
        assert torch.allclose(value, (parts[0][name] + parts[1][name]) / 2, rtol=1e-5, atol=1e-6), name
        assert torch.equal(value, two[1]["statistics"][name])


@pytest.mark.slow
def test_films_are_predicted_in_turns_and_come_back_in_their_order(two: list[dict[str, Any]]) -> None:
    alone = predict(tiny_network(), noise(150))
    assert all(np.array_equal(alone[task], found["logits"][task]) for found in two for task in alone)


@given(films=st.integers(2, 300), size=st.integers(1, 9))
def test_shares_are_neighbours_that_make_up_the_batch_and_differ_by_one_film(films: int, size: int) -> None:
    shares = [Team(rank, size).share(films) for rank in range(size)]
    lengths = [share.places.stop - share.places.start for share in shares]
    if films < 2 * size:
        assert {(s.places.start, s.places.stop, s.copies) for s in shares} == {(0, films, size)}
    else:
        assert [i for s in shares for i in range(films)[s.places]] == list(range(films))
        assert max(lengths) - min(lengths) <= 1 and min(lengths) >= 2 and {s.copies for s in shares} == {1}
    for reduction, expected in (("sum", 1.0), ("mean", 1 / films)):  # what a film's gradient counts, averaged over processes
        own = [1.0 if reduction == "sum" else 1 / length for length in lengths]
        each = [Team(r, size).weight(share, films, reduction) * own[r] * share.copies / size for r, share in enumerate(shares)]
        assert np.allclose(each, expected)


def test_ranks_draw_their_dropout_from_streams_of_their_own_and_the_first_is_that_of_one_process() -> None:
    seeds = [Team(rank, 8).stream(3_000_010) % 2**32 for rank in range(8)]
    assert seeds[0] == 3_000_010 and len(set(seeds)) == 8


# --- starting, ending and failing --------------------------------------------------------------------------------------


def children() -> dict[int, int]:
    """Rank → process id, of the ranks that this process started."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            variables = (stat.parent / "environ").read_bytes().split(b"\0") if parent == os.getpid() else []
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        found |= {int(v.removeprefix(b"RANK=")): int(stat.parent.name) for v in variables if v.startswith(b"RANK=")}
    return found


def start(folder: Path, network: Network, processes: int = 2, identity: str = "full", **options: Any) -> Fit:
    """The training of `full`, in processes."""
    how, films = settings(**options.pop("changes", {})), (tiny_samples(30), tiny_samples(13, 1))
    return fit_together(processes, network, *films, how, 3, checkpoints=folder, identity=identity, **options)


def killed_and_gone_on_with(folder: Path, network: Callable[[], Network]) -> Fit:
    """The second process is killed in the fourth epoch; the next attempt ends the training."""
    killed: list[float] = []

    def kill_the_second(epoch: int, _: dict[str, float]) -> None:
        if epoch == 3:
            os.kill(children()[1], signal.SIGKILL)
            killed.append(time.monotonic())

    with pytest.raises(RankDied, match=r"process 1 of the 2 \(from 0\) that train this unit was ended by SIGKILL") as caught:
        start(folder, network(), progress=kill_the_second)
    assert time.monotonic() - killed[0] < 5
    assert caught.value.kind == "killed" and not children()
    assert (folder / NEWEST).is_file()
    heard: list[int] = []
    fitted = start(folder, network(), progress=lambda epoch, _: heard.append(epoch))
    assert heard in ([3, 4, 5], [4, 5])  # the third checkpoint was written before the kill, or not
    assert not children()
    return fitted


def test_a_killed_rank_ends_the_training_in_seconds_and_the_next_attempt_has_the_losses_of_one_process(tmp_path: Path) -> None:
    alone = fit(plain_network(), tiny_samples(30), tiny_samples(13, 1), settings(), 3).history
    assert furthest(alone, killed_and_gone_on_with(tmp_path, plain_network).history) < TOLERANCE


@pytest.mark.slow
def test_after_a_kill_the_weights_are_the_undisturbed_ones_to_the_bit(two: list[dict[str, Any]], tmp_path: Path) -> None:
    assert digest(killed_and_gone_on_with(tmp_path, tiny_network)) == two[0]["undisturbed"]


def test_more_gpus_than_there_are_is_refused_before_anything_starts(tmp_path: Path) -> None:
    seen = torch.cuda.device_count()
    with pytest.raises(TooFewGpus, match=f"asks for {seen + 2} GPUs and {seen} are visible"):
        start(tmp_path, tiny_network(), processes=seen + 2, device="cuda")


@pytest.mark.slow
def test_three_processes_resume_to_the_bit_too(tmp_path: Path) -> None:
    found = together(3, everything, tmp_path)
    assert all(one["resumed"] == one["undisturbed"] == found[0]["undisturbed"] for one in found)
    assert all(furthest(plain(Team(), case), found[0][case]) < TOLERANCE for case in CASES)


@pytest.mark.slow
def test_who_is_told_to_stop_stops_every_rank_at_once_and_keeps_the_last_epoch(tmp_path: Path) -> None:
    ended, asked = [], []

    def progress(epoch: int, _: dict[str, float]) -> None:
        ended.append(epoch)

    def keep_going() -> None:
        if len(ended) == 3:
            asked.append(time.monotonic())
            raise Cut

    with pytest.raises(Cut):
        start(tmp_path, tiny_network(), progress=progress, keep_going=keep_going)
    assert time.monotonic() - asked[0] < 5 and not children()
    start(tmp_path, tiny_network(), progress=progress)
    assert ended == [1, 2, 3, 3, 4, 5]  # the third was stopped before its checkpoint


@pytest.mark.slow
def test_what_a_rank_raises_is_raised_here(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="the loss is not finite in epoch 1"):
        start(tmp_path, tiny_network(), changes={"learning_rate": 1e30})
    with pytest.raises(Cut):
        fit(tiny_network(), tiny_samples(30), tiny_samples(13, 1), settings(), 3, None, tmp_path, "cpu", cutter(6), "full")
    with pytest.raises(ForeignCheckpoint, match="'full', this is 'another'"):
        start(tmp_path, tiny_network(), identity="another")
    assert not children()


@pytest.mark.slow
def test_ranks_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\nfrom tests.training.learning.test_distributed import children, start, tiny_network\n"
        f"start(Path({str(tmp_path)!r}), tiny_network(), changes={{'max_epochs': 10**6, 'patience': 10**6}}, progress=lambda e, _: "
        "print(*children().values(), flush=True))"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert owner.stdout is not None
    ranks = [int(pid) for pid in owner.stdout.readline().split()]
    assert len(ranks) == 2
    owner.kill()
    owner.wait()
    until = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in ranks) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [pid for pid in ranks if Path(f"/proc/{pid}").exists()]
