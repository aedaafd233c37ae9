"""What a plan will take: units by experiment, how many are shared, the critical path, and hours from measured costs.

Costs come from the finished units that MLflow knows (same backbone, size and device), else from `costs.json`, which was measured on one
thread of one CPU. A training ends by early stopping, so hours are a range: from the earliest end to the last epoch allowed.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from mlflow.entities import Run

from training.protocol.plan import Plan
from training.protocol.unit import Unit
from training.settings import Training

COSTS = Path(__file__).with_name("costs.json")
Table = Mapping[str, Any]  # of `costs.json`
Measured = Mapping[tuple[str, int, str], float]  # (backbone, size, device) → seconds per film and epoch


@dataclass(frozen=True)
class Estimate:
    """`counts`: (experiment, scheme, subset) → (units in the tables, of which new: not counted in a row above). Hours are of one worker,
    `critical` those of the longest chain of units that start from each other: more workers cannot be faster. Backbones that nobody has
    measured on the recipe's device are `unknown`, and count with the hours of one CPU thread. `sources` says where costs come from, and
    which backbones have none. `alone` are the hours if no unit were shared between tables."""

    counts: dict[tuple[str, str, str], tuple[int, int]]
    units: int
    distinct: int
    hours: tuple[float, float]
    critical: tuple[float, float]
    chain: tuple[str, ...]
    unknown: tuple[str, ...]
    sources: tuple[str, ...]
    alone: tuple[float, float]


def measured(finished: Iterable[Run]) -> dict[tuple[str, int, str], float]:
    """Median over finished units of what an epoch took per training film."""
    found: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    for run in finished:
        films, seconds = int(run.data.params.get("films_train", 0)), run.data.metrics.get("seconds_per_epoch")
        if films and seconds:
            key = (run.data.tags["mdmt.backbone"], int(run.data.params["size"]), run.data.tags["mdmt.device"])
            found[key].append(seconds / films)
    return {key: median(values) for key, values in found.items()}


def expected_seconds(units: Iterable[Unit], known: Measured) -> dict[str, float]:
    """Fingerprint → what a unit will take, halfway between its earliest and its latest end: to plan by, not to promise.

    Where only some backbones of a size and device are measured, the committed costs of the others are scaled by how much faster the
    measured ones were, so that all are of one machine. What is in no committed table says nothing of the machine's speed.
    """
    members, table = list(units), json.loads(COSTS.read_text())
    one_each = {(unit.backbone.name, unit.size, unit.device): unit for unit in members}
    of_a_cpu = {key: _of_a_cpu(unit, table) for key, unit in one_each.items()}
    ratios: dict[tuple[int, str], list[float]] = defaultdict(list)
    for key, cost in of_a_cpu.items():
        if key in known and key[0] in table["milliseconds"]:
            ratios[key[1:]].append(known[key] / cost)
    costs = {key: known.get(key) or cost * median(ratios[key[1:]] or [1.0]) for key, cost in of_a_cpu.items()}
    return {unit.fingerprint: films_through(unit) * costs[unit.backbone.name, unit.size, unit.device] for unit in members}


def films_through(unit: Unit) -> float:
    """Films that the training loop sees, each as often as it does, halfway between the unit's earliest and its latest end."""
    return len(unit.part("train")) * sum(_epochs(unit.training)) / 2


def estimate(plan: Plan, known: Measured) -> Estimate:
    """Counts and hours of a plan."""
    table = json.loads(COSTS.read_text())
    seen: set[str] = set()
    counts: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for unit in plan.units:
        row = counts[unit.experiment, unit.scheme, unit.subset]
        row.update(["all"] if unit.fingerprint in seen else ["all", "new"])
        seen.add(unit.fingerprint)
    one_each = {unit.backbone.name: unit for unit in plan.distinct.values()}
    own = {name: known.get((name, unit.size, unit.device)) for name, unit in one_each.items()}
    costs = {name: own[name] or _of_a_cpu(unit, table) for name, unit in one_each.items()}
    hours = {f: _hours(unit, costs[unit.backbone.name]) for f, unit in plan.distinct.items()}
    ends: dict[str, tuple[float, float]] = {}
    before: dict[str, str | None] = {}
    for fingerprint, unit in plan.distinct.items():
        last = max(unit.parents, key=lambda parent: ends[parent][1], default=None)
        earlier = ends[last] if last else (0.0, 0.0)
        ends[fingerprint], before[fingerprint] = (earlier[0] + hours[fingerprint][0], earlier[1] + hours[fingerprint][1]), last
    link: str | None = max(ends, key=lambda f: ends[f][1], default=None)  # None: a recipe of films and lungs alone
    critical, chain = ends[link] if link else (0.0, 0.0), []
    while link:
        chain.append(plan.distinct[link].title)
        link = before[link]
    return Estimate(
        counts={key: (row["all"], row["new"]) for key, row in counts.items()},
        units=len(plan.units),
        distinct=len(plan.distinct),
        hours=(sum(h[0] for h in hours.values()), sum(h[1] for h in hours.values())),
        critical=critical,
        chain=tuple(reversed(chain)),
        unknown=tuple(sorted(name for name, unit in one_each.items() if own[name] is None and unit.device != "cpu")),
        sources=_sources(own, table),
        alone=(sum(hours[unit.fingerprint][0] for unit in plan.units), sum(hours[unit.fingerprint][1] for unit in plan.units)),
    )


def _of_a_cpu(unit: Unit, table: Table) -> float:
    """Seconds per training film and epoch of one CPU thread, from the committed table; between sizes cost grows as the area.

    A backbone that is not in the table counts as the median of those that are: `_sources` says so.
    """
    listed = table["milliseconds"]
    rows = [listed[unit.backbone.name]] if unit.backbone.name in listed else list(listed.values())
    near = min(rows[0], key=lambda size: abs(int(size) - unit.size))
    return median(row[near]["train"] for row in rows) / 1000 * (unit.size / int(near)) ** 2


def _sources(own: Mapping[str, float | None], table: Table) -> tuple[str, ...]:
    """Where the costs of backbones come from: `own` are those from finished units."""
    told = [name for name, cost in own.items() if cost is not None]
    listed = [name for name in own if name not in told and name in table["milliseconds"]]
    guessed = sorted(set(own) - {*told, *listed})
    sources = [f"{len(told)} backbone(s) from finished units in MLflow"] if told else []
    sources += [f"{len(listed)} from costs.json: one thread of {table['cpu']}"] if listed else []
    sources += [f"the median of costs.json for what is not in it: {', '.join(guessed)}"] if guessed else []
    return tuple(sources)


def _hours(unit: Unit, cost: float) -> tuple[float, float]:
    fewest, most = _epochs(unit.training)
    epoch = cost * len(unit.part("train")) / 3600
    return epoch * fewest, epoch * most


def _epochs(training: Training) -> tuple[int, int]:
    return min(training.warmup_epochs + training.patience + 1, training.max_epochs), training.max_epochs
