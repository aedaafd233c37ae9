"""One protocol from its recipe to the alias, in the order of the work; every step finds what was done before."""

from collections.abc import Sequence
from typing import Any

from services.executors.executor import Executor, NoSuchDevice, StageFailed, Stopped, WorkersFail
from services.trainer.away import is_away
from services.trainer.protocol import Protocol
from services.trainer.records import FILE, Order, Records
from services.trainer.settings import Settings
from training import promotion
from training.protocol.plan import REFIT, make_plan
from training.protocol.ran import UnitsFailed
from training.protocol.study import Study
from training.protocol.summary import compare
from training.tracking import Tracking


class Work:
    """`executor` was built with the protocol's stop event; torch is only where it runs things."""

    def __init__(
        self, protocol: Protocol, order: Order, settings: Settings, tracking: Tracking, records: Records, executor: Executor
    ) -> None:
        self._protocol, self._order, self._settings = protocol, order, settings
        self._tracking, self._records, self._executor = tracking, records, executor
        self._study = Study(order.recipe, order.data, tracking, executor, settings.slots)
        self._files = ["--recipe", str(records.folder(protocol.id) / FILE), "--data", str(order.data)]

    def carry_out(self) -> str:
        """All of it; returns what people should know of the end. Raises Stopped, UnitsFailed, and what is wrong with the recipe."""
        protocol, study = self._protocol, self._study
        protocol.move("preparing")
        self._prepare()
        plan = study.plan(protocol)
        if self._is_whole(set(plan.distinct)):
            protocol.units(plan, 0)
            return "nothing to do: all units are finished, the version is registered"
        self._records.reopen(self._order)
        if protocol.forgive:
            refits = make_plan(self._order.recipe, study.cohorts, study.films(protocol), study.weights, (REFIT,))
            study.claims.forgive([*plan.distinct, *refits.distinct])
            protocol.forgive = False
        protocol.move("running")
        ran = study.run(protocol)
        self._go_on()
        results = study.results()
        study.report(results, self._records.folder(protocol.id) / "report")
        if ran.failed:
            raise UnitsFailed(ran)
        protocol.move("refitting")
        backbone = promotion.pick(self._order.recipe, compare(results))
        self._go_on()
        unit = study.refit(backbone, protocol)
        protocol.move("registering")
        self._stage("registering the bundle", ["register", *self._files])
        return self._promote(unit.fingerprint)

    def _prepare(self) -> None:
        """U-Net and films, where they are not there yet."""
        self._go_on()
        self._study.require_weights()  # what is missing, or wrong with the data, is better said before a stage is started
        self._study.outline()
        self._study.settle()
        if not self._study.segmenter_is_trained():
            self._stage("lung U-Net", ["segmenter", "train", *self._files])
        if not self._study.films_are_prepared(self._protocol):
            self._stage("films", ["prepare", *self._files, "--workers", str(self._settings.slots)])
        self._go_on()

    def _stage(self, name: str, arguments: Sequence[str]) -> None:
        """A verb that needs torch. It is tried again when it fails, since what runs it may be killed."""
        for attempt in range(1, self._settings.stage_attempts + 1):
            self._go_on()
            self._protocol.stage(name, 0, 0)
            self._protocol.say(f"stage: {name}")
            try:
                self._executor.stage(arguments)
                break
            except (StageFailed, WorkersFail) as failed:
                self._go_on()
                if is_away(failed) or isinstance(failed, NoSuchDevice) or attempt == self._settings.stage_attempts:
                    raise
                self._protocol.say(f"{name}, attempt {attempt} of {self._settings.stage_attempts}: {failed}")
                self._tracking.client.search_experiments(max_results=1)  # when MLflow is away, it is waited for instead
        if self._protocol.progress is not None:
            self._protocol.progress.no_stage()

    def _promote(self, unit: str) -> str:
        """Gate and alias. A gate that stays closed is no failure of the protocol."""
        recipe, protocol = self._order.recipe, self._protocol
        wanted = {"mdmt.unit": unit, "mdmt.recipe_digest": recipe.digest()}
        found = self._tracking.client.search_model_versions(f"name = '{recipe.registered_name}'")
        version = max((int(v.version) for v in found if wanted.items() <= v.tags.items()), default=None)
        if version is None:
            raise StageFailed(f"no version of {recipe.registered_name!r} has the tags {wanted}: submit the recipe again")
        registered: dict[str, Any] = {"name": recipe.registered_name, "version": version, "promoted": None}
        note = f"version {version} of {recipe.registered_name}"
        if self._promotes():
            try:
                promoted = promotion.promote(
                    recipe.registered_name,
                    version,
                    self._settings.alias,
                    f"protocol {protocol.id}",
                    self._tracking,
                    who="trainer",
                )
                registered |= {"promoted": True, "previous": promoted.previous}
                note += f" is {self._settings.alias}"
            except promotion.GateClosed as closed:
                refused = "; ".join(f"{finding.name}: {finding.says}" for finding in closed.findings) or str(closed)
                registered |= {"promoted": False, "refused": refused[:500]}
                note += f" is registered, not promoted: {refused}"
        protocol.registered = registered
        return note

    def _is_whole(self, units: set[str]) -> bool:
        """Whether an earlier time left nothing to do: units, version, and what was to become of it."""
        before = self._protocol.before
        if not before or not units <= self._tracking.finished(units).keys():
            return False
        client, name = self._tracking.client, before["name"]
        versions = {int(version.version) for version in client.search_model_versions(f"name = '{name}'")}
        promoted = before["promoted"]
        aliased = self._settings.alias in client.get_registered_model(name).aliases if versions else False
        if before["version"] not in versions or (self._promotes() and (promoted is None or (promoted and not aliased))):
            return False
        self._protocol.registered = before
        return True

    def _promotes(self) -> bool:
        """As asked for last: that may have been while it worked."""
        order = self._protocol.order
        return order is not None and order.promote

    def _go_on(self) -> None:
        if self._protocol.stop.is_set():
            raise Stopped("told to stop")
