"""What is counted. Labels come from closed lists (routes, tasks, codes), never from what a caller sent."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from cxr.prediction import Prediction
from serving.answers import ModelId, Timings
from serving.readiness import Outcome

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """One application's metrics in a registry of its own: two applications in one process do not share counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "mdmt_requests", "Answers by route and status", ("method", "route", "status"), registry=self.registry
        )
        self.seconds = Histogram("mdmt_request_seconds", "Time to answer", ("route",), buckets=SECONDS, registry=self.registry)
        self.stages = Histogram("mdmt_stage_seconds", "Time per stage", ("stage",), buckets=SECONDS, registry=self.registry)
        self.predictions = Counter("mdmt_predictions", "Answers by task and label", ("task", "label"), registry=self.registry)
        self.lungs = Counter(
            "mdmt_lungs_found",
            "Films answered, by what found their lungs: a quick look, or float32",
            ("look",),
            registry=self.registry,
        )
        self.film_errors = Counter("mdmt_film_errors", "Films refused, by code", ("code",), registry=self.registry)
        self.refusals = Counter("mdmt_refusals", "Requests refused, by problem", ("problem",), registry=self.registry)
        self.looks = Counter("mdmt_version_looks", "Looks at the alias, by what came of it", ("change",), registry=self.registry)
        self.versions_refused = Counter(
            "mdmt_versions_refused", "Versions not served, by reason", ("reason",), registry=self.registry
        )
        self.queue = Gauge("mdmt_predictions_waiting", "Films that wait for a worker or are computed", registry=self.registry)
        self.class_drift = Gauge(
            "mdmt_class_drift", "Distance of the latest answers' class mix from training's", ("task",), registry=self.registry
        )
        self.unusual = Gauge(
            "mdmt_input_drift", "Share of the latest films with such an input score (0.05: as in training)", ("score",),
            registry=self.registry,
        )  # fmt: skip
        self.ready = Gauge("mdmt_ready", "1 when a bundle is served", registry=self.registry)
        self.in_flight = Gauge("mdmt_uploads_in_flight", "Uploads being read, waiting or computed", registry=self.registry)
        self.bundle = Gauge(
            "mdmt_bundle_info", "The bundle served", ("name", "version", "alias", "digest"), registry=self.registry
        )

    def count(self, prediction: Prediction, timings: Timings) -> None:
        """One film was answered."""
        for task, given in prediction.answers.items():
            self.predictions.labels(task, given.label).inc()
        self.lungs.labels("quick" if prediction.film.quick else "float32").inc()
        for stage in ("read_body", "prepare", "network"):
            self.stages.labels(stage).observe(getattr(timings, stage) / 1000)

    def looked(self, outcome: Outcome) -> None:
        """The alias was looked at."""
        self.looks.labels(outcome.change).inc()
        if outcome.kind:
            self.versions_refused.labels(outcome.kind).inc()

    def show_drift(self, distances: Mapping[str, float], unusual: float | None) -> None:
        """Task → distance from the training reference, and the share of unusual films; what is not known is not shown."""
        self.class_drift.clear()
        self.unusual.clear()
        if unusual is not None:
            self.unusual.labels("above the 95 % of training").set(unusual)
        for task, distance in distances.items():
            self.class_drift.labels(task).set(distance)

    def show_bundle(self, model: ModelId | None) -> None:
        """Make the gauges tell what is served now."""
        self.bundle.clear()
        self.ready.set(model is not None)
        if model is not None:
            self.bundle.labels(model.name, model.version, model.alias, model.digest).set(1)
