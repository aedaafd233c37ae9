"""Picking, promoting, rolling back: the honest winner, an alias that moves only through the gate, and a history of every move."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from cxr.manifest import CARD
from tests.serving.tiny_bundle import write_bundle
from tests.training.test_gate import FULL, figures, tell
from tests.training.test_registry import FRESH, LITE, SMALL, line, recipe
from training import promotion, runs
from training.gate import FOLDS
from training.promotion import GateClosed, history, pick, promote, rollback
from training.protocol.experiments import Experiment
from training.protocol.recipe import RecipeError
from training.tracking import Tracking, default_uri

GOOD, BAD = [0.80, 0.82, 0.84], [0.60, 0.63, 0.61]


def test_the_backbone_with_the_best_mean_over_the_folds_is_picked_and_its_weights_matter() -> None:
    lines = [line(SMALL, [0.9, 0.5]), line(LITE, [0.75, 0.75]), line(FRESH, [0.6, 0.6])]
    assert pick(recipe(), lines) == LITE
    assert pick(recipe(pick="acc"), lines) == FRESH


def test_a_backbone_that_lacks_folds_is_not_picked_by_the_best_of_them() -> None:
    lacking = replace(line(SMALL, [0.99]), missing=4)
    assert pick(recipe(), [lacking, line(LITE, [0.75] * 5)]) == LITE
    with pytest.raises(RecipeError, match=rf"missing: {SMALL.name} 4\. `mdmt run"):
        pick(recipe(), [lacking])


def test_other_experiments_schemes_and_tasks_have_no_say() -> None:
    changes = {"experiment": "ft", "scheme": "loco", "subset": "release-1", "task": "severity"}
    others = [line(LITE, [0.99], **{key: value}) for key, value in changes.items()]
    assert pick(recipe(), [line(SMALL, [0.6]), line(LITE, [0.5]), *others]) == SMALL


def test_a_recipe_without_a_result_to_pick_from_is_refused() -> None:
    with pytest.raises(RecipeError, match="no 'mdmt' result on task 'prognosis'"):
        pick(recipe(), [line(SMALL, [0.9], experiment="ft"), line(SMALL, [])])


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({}, "finish `mdmt run` of this recipe first"),
        (
            {"experiments": ("mdmt-four",)},
            "is the experiment named 'mdmt', and the recipe has mdmt-four. Add 'mdmt' to its experiments; an own experiment of that name",
        ),
        (
            {"experiments": ("mdmt", "mdmt-four"), "headline": "age"},
            "'mdmt' learns prognosis, severity; set headline to one of these",
        ),
    ],
)
def test_a_refusal_to_pick_says_what_to_do(changes: dict[str, object], what: str) -> None:
    four = Experiment(name="mdmt-four", title="four", tasks=("prognosis", "severity", "age"))
    with pytest.raises(RecipeError, match=what):
        pick(recipe(own_experiments=(four,), **changes), [line(SMALL, [0.9], experiment="mdmt-four")])


@pytest.fixture(scope="module")
def tracking(new_home: Callable[[], Path]) -> Tracking:
    home = new_home()
    return Tracking(default_uri(home), home)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tell(write_bundle(tmp_path_factory.mktemp("bundle")), FULL)


def register(tracking: Tracking, name: str, folder: Path, auc: Sequence[float] | None = GOOD) -> int:
    """A version whose recipe measured these figures; None: they were not recorded."""
    with tracking.run(tracking.experiment("mdmt-test"), name, {}, {}) as run:
        return tracking.register(run.run_id, folder, name, {} if auc is None else {FOLDS: figures(auc).model_dump_json()})


def alias(tracking: Tracking, name: str) -> int:
    return int(tracking.client.get_model_version_by_alias(name, "champion").version)


def records(tracking: Tracking, name: str, status: str) -> int:
    experiment = tracking.experiment(promotion.EXPERIMENT)
    wanted = f"tags.`mdmt.model` = '{name}' and attributes.status = '{status}'"
    return len(tracking.client.search_runs([experiment], wanted))


def test_a_promotion_moves_the_alias_and_its_record_says_who_when_why_from_where_and_what_was_found(
    tracking: Tracking, bundle: Path
) -> None:
    for _ in range(2):
        register(tracking, "told", bundle)
    first = promote("told", 1, "champion", "first", tracking, who="ada")
    assert (first.version, first.previous, first.who, first.forced) == (1, None, "ada", False)
    second = promote("told", None, "champion", "better", tracking)
    assert (second.version, second.previous, alias(tracking, "told")) == (2, 1, 2)
    assert history("told", tracking) == [second, first]
    assert tracking.client.get_model_version("told", "2").tags["mdmt.promoted.champion"].endswith(": better")
    assert second.record is not None
    run = tracking.client.get_run(second.record)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["mean"] == run.data.metrics["champion_mean"] == pytest.approx(0.82)
    kept = promotion.Promotion.model_validate_json(tracking.file_of(run, "promotion.json").read_text())
    assert kept == second.model_copy(update={"record": None})
    assert {check.name: check.passed for check in kept.checks} == dict.fromkeys(
        ("golden case", "calibration", "provenance", "not worse than the champion", "not withdrawn"), True
    )


def test_promoting_what_is_promoted_does_nothing_and_leaves_no_record(tracking: Tracking, bundle: Path) -> None:
    register(tracking, "same", bundle)
    promote("same", 1, "champion", "first", tracking)
    again = promote("same", 1, "champion", "again", tracking)
    assert (again.version, again.previous, again.record) == (1, 1, None)
    assert [move.reason for move in history("same", tracking)] == ["first"]


def test_everything_that_is_against_a_version_is_told_at_once_and_nothing_is_moved(
    tracking: Tracking, bundle: Path, tmp_path: Path
) -> None:
    register(tracking, "closed", bundle)
    promote("closed", 1, "champion", "first", tracking)
    register(tracking, "closed", tell(write_bundle(tmp_path / "untold"), {"run": "r1"}), BAD)
    with pytest.raises(GateClosed) as closed:
        promote("closed", 2, "champion", "by hand", tracking)
    assert [finding.name for finding in closed.value.findings] == ["provenance", "not worse than the champion"]
    assert "auc of prognosis 0.6133, of version 1 0.8200 on the same 3 folds" in str(closed.value)
    with pytest.raises(GateClosed, match="does not say unit, recipe"):
        promote("closed", 2, "champion", "all the same", tracking, force=True)
    assert alias(tracking, "closed") == 1
    assert records(tracking, "closed", "FINISHED") == 1


def test_a_version_that_does_not_compute_what_was_registered_is_not_promoted_not_even_by_force(
    tracking: Tracking, bundle: Path, tmp_path: Path
) -> None:
    register(tracking, "broken", tell(write_bundle(tmp_path / "shifted", shift=0.2), FULL))
    altered = tell(write_bundle(tmp_path / "altered"), FULL)
    (altered / CARD).write_text("another card")
    register(tracking, "broken", altered)
    for version, why in ((1, r"golden case answers 0\.2000 away"), (2, r"MODEL_CARD\.md was altered")):
        with pytest.raises(GateClosed, match=why):
            promote("broken", version, "champion", "by hand", tracking, force=True)


def test_a_worse_version_is_promoted_by_force_and_the_record_says_so(tracking: Tracking, bundle: Path) -> None:
    register(tracking, "forced", bundle)
    register(tracking, "forced", bundle, BAD)
    register(tracking, "forced", bundle, None)
    promote("forced", 1, "champion", "first", tracking)
    for version in (2, 3):
        with pytest.raises(GateClosed, match="--force with a --reason"):
            promote("forced", version, "champion", "by hand", tracking)
        assert promote("forced", version, "champion", "other hospital", tracking, force=True).forced
    assert [move.forced for move in history("forced", tracking)] == [True, True, False]


def test_rolling_back_walks_back_step_by_step_and_never_forward(tracking: Tracking, bundle: Path) -> None:
    for _ in range(4):
        register(tracking, "back", bundle)
    for version in (1, 2, 3):
        promote("back", version, "champion", f"number {version}", tracking)
    assert [rollback("back", "champion", "no good", tracking).version for _ in range(2)] == [2, 1]
    with pytest.raises(GateClosed, match="no version before 1"):
        rollback("back", "champion", "no good", tracking)
    promote("back", 4, "champion", "number 4", tracking)
    assert rollback("back", "champion", "no good", tracking).version == 1
    assert [(m.action, m.previous, m.version) for m in history("back", tracking)] == [
        ("rollback", 4, 1),
        ("promote", 1, 4),
        ("rollback", 2, 1),
        ("rollback", 3, 2),
        ("promote", 2, 3),
        ("promote", 1, 2),
        ("promote", None, 1),
    ]


def test_a_version_that_somebody_rolled_back_from_comes_back_by_force_only(tracking: Tracking, bundle: Path) -> None:
    for _ in range(2):
        register(tracking, "withdrawn", bundle)
    promote("withdrawn", 1, "champion", "first", tracking)
    promote("withdrawn", 2, "champion", "second", tracking)
    rollback("withdrawn", "champion", "misses effusions", tracking, who="ada")
    with pytest.raises(GateClosed, match=r"rolled back from at .* by ada: misses effusions"):
        promote("withdrawn", 2, "champion", "a service that starts again", tracking)
    promote("withdrawn", 2, "champion", "mended upstream", tracking, force=True)
    assert promote("withdrawn", 2, "champion", "again", tracking).record is None


def test_rolling_back_leaves_out_deleted_versions_and_finds_where_the_alias_was_moved_by_hand(
    tracking: Tracking, bundle: Path
) -> None:
    for _ in range(4):
        register(tracking, "gaps", bundle)
    for version in (1, 2, 3):
        promote("gaps", version, "champion", f"number {version}", tracking)
    tracking.client.delete_model_version("gaps", "2")
    assert rollback("gaps", "champion", "no good", tracking).version == 1
    promote("gaps", 3, "champion", "after all", tracking, force=True)
    tracking.client.set_registered_model_alias("gaps", "champion", "4")
    assert rollback("gaps", "champion", "who moved it?", tracking).version == 3


def test_rolling_back_to_a_version_that_is_broken_is_refused(tracking: Tracking, bundle: Path) -> None:
    register(tracking, "rotten", bundle)
    register(tracking, "rotten", bundle)
    promote("rotten", 1, "champion", "first", tracking)
    promote("rotten", 2, "champion", "second", tracking)
    stored = tracking.client.get_model_version("rotten", "1").source.removeprefix("models:/")
    (card,) = (path for path in (tracking.home / "artifacts").rglob(CARD) if stored in path.parts)
    card.write_text("another card")
    with pytest.raises(GateClosed, match="cannot be returned to"):
        rollback("rotten", "champion", "no good", tracking)
    assert alias(tracking, "rotten") == 2


def test_a_move_that_was_cut_off_is_settled_by_the_next_and_no_record_stays_open(
    tracking: Tracking, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        register(tracking, "cut", bundle)

    close = runs.close

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    def die_at_the_end(client: MlflowClient, run_id: str, status: str, reason: str = "") -> None:
        die() if status == "FINISHED" else close(client, run_id, status, reason)

    with monkeypatch.context() as patch:  # between the record and the alias
        patch.setattr(tracking.client, "set_registered_model_alias", die)
        with pytest.raises(KeyboardInterrupt):
            promote("cut", 1, "champion", "cut before", tracking)
    with monkeypatch.context() as patch:  # between the alias and the end of the record
        patch.setattr(runs, "close", die_at_the_end)
        with pytest.raises(KeyboardInterrupt):
            promote("cut", 1, "champion", "cut after", tracking)
    assert [records(tracking, "cut", status) for status in ("RUNNING", "KILLED", "FINISHED")] == [1, 1, 0]
    promote("cut", 2, "champion", "whole", tracking)
    assert [records(tracking, "cut", status) for status in ("RUNNING", "KILLED", "FINISHED")] == [0, 1, 2]
    assert [move.reason for move in history("cut", tracking)] == ["whole", "cut after"]
    assert rollback("cut", "champion", "no good", tracking).version == 1


def test_many_who_promote_at_once_leave_one_champion_and_a_history_without_a_gap(tracking: Tracking, bundle: Path) -> None:
    versions = [register(tracking, "race", bundle) for _ in range(6)]
    threads = [threading.Thread(target=promote, args=("race", v, "champion", f"number {v}", tracking)) for v in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    moves = history("race", tracking)
    assert sorted(move.version for move in moves) == versions
    assert moves[0].version == alias(tracking, "race")
    assert [move.previous for move in moves] == [*(move.version for move in moves[1:]), None]


def test_who_moves_the_alias_without_our_lock_makes_the_gate_look_again(
    tracking: Tracking, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for auc in (GOOD, GOOD, [0.99, 0.98, 0.99]):
        register(tracking, "moved", bundle, auc)
    promote("moved", 1, "champion", "first", tracking)
    look = promotion.check_against

    def slow(candidate: int, champion: int | None, tags: object) -> object:
        if champion == 1:  # the UI moves it while we compare
            tracking.client.set_registered_model_alias("moved", "champion", "3")
        return look(candidate, champion, tags)  # type: ignore[arg-type]

    monkeypatch.setattr(promotion, "check_against", slow)
    with pytest.raises(GateClosed, match=r"of version 3 0\.9867"):
        promote("moved", 2, "champion", "second", tracking)
    assert alias(tracking, "moved") == 3


def test_versions_names_and_reasons_that_are_not_there_are_refused(tracking: Tracking, bundle: Path) -> None:
    register(tracking, "few", bundle)
    with pytest.raises(GateClosed, match="no version 9 of 'few'; registered: 1"):
        promote("few", 9, "champion", "by hand", tracking)
    with pytest.raises(GateClosed, match="'nothing'; registered: none"):
        promote("nothing", None, "champion", "by hand", tracking)
    with pytest.raises(GateClosed, match="few@champion has no version before any"):
        rollback("few", "champion", "no good", tracking)
    with pytest.raises(ValueError, match="a reason of 0 letters; allowed: 1 to 1000"):
        promote("few", 1, "champion", "  ", tracking)
