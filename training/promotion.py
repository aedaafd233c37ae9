"""What is served: the backbone that is picked, the alias that moves through the gate, and the history of every move.

MLflow keeps no history of an alias. Every move is a run of kind "promotion" in the experiment "promotions" (who, when, why, from which
version to which, what the gate found), opened before the alias moves and FINISHED after. One process at a time moves an alias
(`Tracking.alone`); a run that somebody's death left open is settled by the next: FINISHED if the alias had moved, else KILLED.
"""

import getpass
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

from mlflow.exceptions import MlflowException
from pydantic import BaseModel, ConfigDict

from training import runs
from training.evaluation.metrics import mean_and_sd
from training.evaluation.results import Line
from training.gate import Check, check_against, check_version
from training.protocol.experiments import in_order
from training.protocol.recipe import SERVED, BackboneChoice, Recipe, RecipeError
from training.tracking import Tracking

EXPERIMENT, KIND = "promotions", "promotion"
RECORD = "mdmt.promotion"  # tag of the run: the Promotion as JSON; `promotion.json` is the same for people
LONGEST_REASON = 1000  # letters: MLflow cuts tags
TRIES = 5  # somebody without our lock (the MLflow UI) may move the alias between the look and the move


class GateClosed(RuntimeError):
    """A version that must not be promoted; `findings` are those that are against it."""

    def __init__(self, what: str, findings: Sequence[Check] = ()) -> None:
        self.findings = tuple(findings)
        remedy = ""
        if findings and all(finding.waivable for finding in findings):
            remedy = "\n  --force with a --reason promotes it all the same"
        super().__init__(what + "".join(f"\n  {finding.name}: {finding.says}" for finding in findings) + remedy)


class Promotion(BaseModel):
    """One move of an alias. `when` is ISO 8601 in UTC; `previous` is where the alias was; `record` is the MLflow run, None when the
    alias was there already and nothing was done. `figures`: of the comparison with the champion, where there was one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    alias: str
    action: Literal["promote", "rollback"]
    version: int
    previous: int | None
    who: str
    when: str
    reason: str
    forced: bool
    checks: tuple[Check, ...]
    figures: dict[str, float] = {}
    record: str | None = None


def pick(recipe: Recipe, lines: Sequence[Line]) -> BackboneChoice:
    """The backbone whose MDMT networks have the highest mean of `recipe.pick` on the headline task over the first scheme's folds, all
    releases of the data. One that lacks folds is none of the candidates: the best of its folds would speak for all of them.

    Raises RecipeError, with what to do, where there are none.
    """
    asked = [
        line for line in lines
        if (line.experiment, line.subset, line.scheme) == recipe.served_group and line.task == recipe.headline
        and line.folds[recipe.pick]
    ]  # fmt: skip
    candidates = [line for line in asked if not line.missing]
    if asked and not candidates:
        lacking = ", ".join(f"{line.backbone} {line.missing}" for line in asked)
        raise RecipeError(
            f"no backbone of recipe {recipe.name!r} has all folds to pick by; missing: {lacking}. `mdmt run --recipe {recipe.name}` goes "
            "on with them, `--forgive` tries those again that failed"
        )
    if not candidates:
        raise RecipeError(
            f"recipe {recipe.name!r} has no {SERVED!r} result on task {recipe.headline!r} to pick from: {_what_is_lacking(recipe)}"
        )
    best = max(candidates, key=lambda line: (mean_and_sd(line.folds[recipe.pick])[0], line.backbone))
    return next(b for b in recipe.backbones if (b.name, b.weights) == (best.backbone, best.weights))


def _what_is_lacking(recipe: Recipe) -> str:
    planned = [experiment.name for experiment in in_order(recipe.experiments, recipe.known_experiments)]
    if SERVED not in planned:
        return (
            f"what is registered is the experiment named {SERVED!r}, and the recipe has {', '.join(planned) or 'none'}. Add {SERVED!r} to "
            f"its experiments; an own experiment of that name takes the place of the paper's, with the tasks that it is to answer"
        )
    learned = recipe.known_experiments[SERVED].tasks
    if recipe.headline not in learned:
        return f"{SERVED!r} learns {', '.join(learned)}; set headline to one of these"
    return "finish `mdmt run` of this recipe first"


def promote(
    name: str, version: int | None, alias: str, reason: str, tracking: Tracking, who: str | None = None, force: bool = False
) -> Promotion:
    """Gate, then move the alias. Default version: the newest. `who` is the user of this process unless given.

    Raises GateClosed with every finding against the version. `force` waives that it is worse than the champion, that it cannot be
    compared, and that it was rolled back from; never that it does not compute what was registered.
    """
    _refuse_reason(reason)
    chosen = _chosen(name, version, tracking)
    checks = check_version(name, chosen, tracking)
    experiment = tracking.experiment(EXPERIMENT)
    with tracking.alone():
        _settle(name, alias, experiment, tracking)
        for _ in range(TRIES):
            previous = _version_of(name, alias, tracking)
            all_checks, figures = checks, dict[str, float]()
            if previous != chosen:
                tags = {v: tracking.client.get_model_version(name, str(v)).tags for v in (chosen, previous) if v is not None}
                against, figures = check_against(chosen, previous, tags)
                all_checks = [*checks, against, _not_withdrawn(chosen, history(name, tracking, alias))]
            against_it = [check for check in all_checks if not (check.passed or (force and check.waivable))]
            if against_it:
                raise GateClosed(f"version {chosen} of {name!r} is not promoted to {alias!r}:", against_it)
            promotion = _promotion(name, alias, "promote", chosen, previous, who, reason, force, all_checks, figures)
            if previous == chosen:
                return promotion
            if _version_of(name, alias, tracking) == previous:
                return _move(promotion, experiment, tracking)
    raise GateClosed(f"{name}@{alias} was moved by others {TRIES} times while version {chosen} was checked: try again")


def rollback(name: str, alias: str, reason: str, tracking: Tracking, who: str | None = None) -> Promotion:
    """Return to the version before: once more to the one before that, never forward again. Of the gate, the version's own checks.

    Raises GateClosed when there is none before, or it does not compute what was registered any more.
    """
    _refuse_reason(reason)
    experiment = tracking.experiment(EXPERIMENT)
    with tracking.alone():
        _settle(name, alias, experiment, tracking)
        current = _version_of(name, alias, tracking)
        there = _versions(name, tracking)
        before = [version for version in _way_here(history(name, tracking, alias), current) if version in there]
        if current is None or not before:
            raise GateClosed(
                f"{name}@{alias} has no version before {current or 'any'} to return to: its history is in `mdmt promotions`"
            )
        checks = check_version(name, before[-1], tracking)[:1]
        if not checks[0].passed:
            raise GateClosed(f"version {before[-1]} of {name!r} cannot be returned to:", checks)
        promotion = _promotion(name, alias, "rollback", before[-1], current, who, reason, False, checks, {})
        return _move(promotion, experiment, tracking)


def history(name: str, tracking: Tracking, alias: str | None = None) -> list[Promotion]:
    """Every move of the alias (None: of all of them), newest first."""
    where = {"kind": KIND, "model": name} | ({} if alias is None else {"alias": alias})
    found = [(run.info.run_id, run.data.tags[RECORD]) for run in tracking.runs(**where)]
    return [Promotion.model_validate_json(text).model_copy(update={"record": run_id}) for run_id, text in found]


def _way_here(moves: Sequence[Promotion], current: int | None) -> list[int]:
    """The versions that were served before `current`, the latest last; those that were rolled back from are no part of the way."""
    way: list[int] = []
    for move in reversed(moves):
        if move.action == "promote":
            # Somebody without our record may have moved it in between.
            way += [move.previous] if move.previous is not None and way[-1:] != [move.previous] else []
            way.append(move.version)
        else:
            while way and way[-1] != move.version:
                way.pop()
            way = way or [move.version]
    return way[:-1] if way[-1:] == [current] else way


def _not_withdrawn(version: int, moves: Sequence[Promotion]) -> Check:
    """Whether the latest move that concerns the version was to it, not back from it: what a person took back, no machine brings back."""
    for move in moves:
        if move.version == version:
            break
        if move.action == "rollback" and move.previous == version:
            says = f"it was rolled back from at {move.when} by {move.who}: {move.reason}"
            return Check(name="not withdrawn", passed=False, says=says, waivable=True)
    return Check(name="not withdrawn", passed=True, says="nobody has rolled back from it")


def _promotion(
    name: str, alias: str, action: Literal["promote", "rollback"], version: int, previous: int | None, who: str | None,
    reason: str, force: bool, checks: Sequence[Check], figures: dict[str, float],
) -> Promotion:  # fmt: skip
    return Promotion(
        name=name, alias=alias, action=action, version=version, previous=previous, who=who or _user(),
        when=datetime.now(UTC).isoformat(timespec="seconds"), reason=reason,
        forced=force and not all(check.passed for check in checks), checks=tuple(checks), figures=figures,
    )  # fmt: skip


def _move(promotion: Promotion, experiment: str, tracking: Tracking) -> Promotion:
    """Record, move, close the record."""
    client, name, alias, version = tracking.client, promotion.name, promotion.alias, str(promotion.version)
    tags = {
        "mdmt.kind": KIND, "mdmt.model": name, "mdmt.alias": alias, "mdmt.version": version,
        RECORD: promotion.model_dump_json(exclude={"record"}),
    }  # fmt: skip
    run_id = runs.open_run(client, experiment, f"{name}@{alias} → {version}", tags, {})
    client.log_text(run_id, promotion.model_dump_json(indent=2, exclude={"record"}), "promotion.json")
    runs.log(client, run_id, runs.metrics_of(promotion.figures, 0), {})
    stamp = f"{promotion.when} by {promotion.who}, was {promotion.previous or 'none'}: {promotion.reason}"
    client.set_model_version_tag(name, version, f"mdmt.promoted.{alias}", stamp)
    client.set_registered_model_alias(name, alias, version)
    runs.close(client, run_id, "FINISHED", f"{promotion.action}: {promotion.reason}")
    return promotion.model_copy(update={"record": run_id})


def _settle(name: str, alias: str, experiment: str, tracking: Tracking) -> None:
    """End the records of moves that were cut off: nobody can be at them, for we are alone."""
    wanted = f"tags.`mdmt.model` = '{name}' and tags.`mdmt.alias` = '{alias}' and attributes.status = 'RUNNING'"
    for run in tracking.client.search_runs([experiment], wanted):
        moved = _version_of(name, alias, tracking) == int(run.data.tags["mdmt.version"])
        runs.close(tracking.client, run.info.run_id, "FINISHED" if moved else "KILLED", "was cut off" if not moved else "")


def _chosen(name: str, version: int | None, tracking: Tracking) -> int:
    there = _versions(name, tracking)
    if not there or (version is not None and version not in there):
        raise GateClosed(f"no version {version or ''} of {name!r}; registered: {', '.join(map(str, there)) or 'none'}")
    return version or there[-1]


def _versions(name: str, tracking: Tracking) -> list[int]:
    return sorted(int(found.version) for found in tracking.client.search_model_versions(f"name = '{name}'"))


def _version_of(name: str, alias: str, tracking: Tracking) -> int | None:
    try:
        return int(tracking.client.get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _refuse_reason(reason: str) -> None:
    if not 0 < len(reason.strip()) <= LONGEST_REASON:
        raise ValueError(
            f"a reason of {len(reason.strip())} letters; allowed: 1 to {LONGEST_REASON}. It is what others will read"
        )


def _user() -> str:
    with suppress(KeyError, OSError):  # a container's user has a number and no name
        return getpass.getuser()
    return f"uid {os.getuid()}"
