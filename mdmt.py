"""The command line: one verb per stage, each a call into one package. `mdmt --help` is the table of contents.

Exit codes: 0 done · 1 refused, with the reason on standard error · 2 wrong usage · 130 interrupted, `run` by SIGTERM too.
State lies in one folder (`MDMT_HOME`, default `state`); tracking goes to `MLFLOW_TRACKING_URI`, or to an SQLite file in that folder.
Heavy imports are inside the verbs, so that help is instant.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

from cxr.log_privacy import withhold_texts
from services import environment
from services.commands import promotion as promotion_commands
from services.commands import protocols
from services.commands.data import data_app
from services.commands.doctor import doctor
from services.commands.films import films_app
from services.commands.launcher import launcher
from services.commands.phantom import phantom
from services.commands.segmenter import segmenter_app
from services.commands.sharing import sharing
from services.commands.studies import RecipeOption, study, watched
from services.commands.ui import ui
from services.commands.weights import weights_app
from services.environment import home, tracking
from serving.commands import audit, keys_app
from training import imagenet
from training.pretraining_verbs import starts_verbs

environment.set_defaults()
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(segmenter_app, name="segmenter")
app.add_typer(weights_app, name="weights")
app.add_typer(films_app, name="films")
app.add_typer(data_app, name="data")
app.add_typer(keys_app, name="keys")
app.add_typer(starts_verbs(study, watched, lambda: imagenet.folder(home())), name="starts")
app.command()(audit)
for verb in (phantom, doctor, launcher, sharing, ui, *promotion_commands.VERBS, *protocols.VERBS):
    app.command()(verb)
out, err = Console(width=None if sys.stdout.isatty() else 165), Console(stderr=True)
OUR_ROOMS = ("cxr", "training", "services", "serving")

DataOption = Annotated[Optional[Path], typer.Option(help="Data folder; default: the recipe's own.")]  # noqa: UP045
WorkersOption = Annotated[int, typer.Option(min=1, help="Processes, one thread each; default: the cores of this machine.")]
CORES = os.cpu_count() or 1


@app.command()
def prepare(recipe: RecipeOption = "demo", data: DataOption = None, workers: WorkersOption = CORES) -> None:
    """Prepare every film of the recipe's cohorts once: read, segment, crop, resize."""
    from services.console import StudyView, store_report

    with StudyView(out) as view:
        ready = study(recipe, data, workers)
        stores = ready.films(view)
    out.print(store_report(ready.cohorts, stores))


@app.command()
def plan(
    recipe: RecipeOption = "paper",
    data: DataOption = None,
    workers: WorkersOption = CORES,
    json: Annotated[bool, typer.Option("--json", help="Only print the recipe as a file, to save and change.")] = False,
) -> None:
    """Count a recipe's units before anything is prepared: by experiment, shared ones, critical path, hours."""
    if json:
        from training.protocol.recipe import load_recipe

        typer.echo(load_recipe(recipe).model_dump_json(indent=2))
        return
    from services.console import plan_report
    from training.protocol.estimate import estimate, measured

    ready = study(recipe, data, workers)
    out.print(plan_report(estimate(ready.outline(), measured(ready.tracking.finished().values())), workers))
    if absent := ready.absent_weights():
        out.print(
            f"to be fetched first: ImageNet weights of {', '.join(absent)}; mdmt weights fetch --all, or import", style="yellow"
        )


@app.command()
def run(
    recipe: RecipeOption = "demo",
    data: DataOption = None,
    workers: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            min=1, help="Processes, one thread each; default: what `mdmt sharing` measured, else the cores of this machine."
        ),
    ] = None,
    forgive: Annotated[bool, typer.Option("--forgive", help="Try units again that failed too often.")] = False,
) -> None:
    """Run every unit of the recipe that is not finished, and print the comparison."""
    from services.console import StudyView, comparison
    from training.protocol.ran import UnitsFailed
    from training.protocol.sharing import workers_here
    from training.protocol.summary import compare

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's end gives units back as Ctrl-C does
    with StudyView(out) as view:
        ready = study(recipe, data, workers or CORES)
        if workers is None and (slots := workers_here(ready.recipe, ready.outline, home())):
            out.print(f"{slots} worker(s), as `mdmt sharing` measured on this host; --workers asks for another number")
            ready = study(recipe, data, CORES, slots)
        if forgive:
            ready.claims.forgive(ready.plan(view).distinct)
        ran = ready.run(view)
        lines = compare(ready.results())
    out.print(
        f"{ran.distinct} units, {ran.now} run now, {ran.distinct - ran.now - len(ran.failed) - len(ran.skipped)} found finished"
    )
    if lines:  # a recipe may be of evidence alone
        out.print(comparison(lines))
    if ran.failed:
        raise UnitsFailed(ran)


@app.command()
def report(
    recipe: RecipeOption = "demo",
    data: DataOption = None,
    folder: Annotated[Optional[Path], typer.Option(help="Where it is written; default: reports/<recipe> in the state.")] = None,  # noqa: UP045
    markdown: Annotated[bool, typer.Option("--markdown", help="Only print the comparison as Markdown.")] = False,
    page: Annotated[Path | None, typer.Option(help="Also put what the study has shown into this page, docs/evidence.md.")] = None,
) -> None:
    """Write the report of a recipe (HTML page, CSV, Markdown) from what MLflow holds, and log it there."""
    from services.console import StudyView, comparison
    from training.evaluation.table import markdown as as_markdown
    from training.evidence.writing import write_evidence
    from training.protocol.summary import compare

    with StudyView(out) as view:
        ready = study(recipe, data, CORES)
        ready.plan(view)
        results = ready.results()
        lines = compare(results)
        if markdown:
            sys.stdout.write(as_markdown(lines))
            return
        written = folder or home() / "reports" / ready.recipe.name
        write_evidence(ready, view, written, page)
        ready.report(results, written)
    if lines:
        out.print(comparison(lines))
    out.print(f"report: {written}")


@app.command()
def tune(
    recipe: RecipeOption = "demo",
    data: DataOption = None,
    workers: WorkersOption = CORES,
    trials: Annotated[int, typer.Option(min=1, help="Trials of each fold in all, those of earlier calls included.")] = 30,
    fold: Annotated[
        list[str] | None,
        typer.Option(
            help="SUBSET/FOLD, such as all/cv-0 or all/refit. Repeatable; default: the first scheme on the last subset."
        ),
    ] = None,
    backbone: Annotated[Optional[str], typer.Option(help="One of the recipe's; default: its first.")] = None,  # noqa: UP045
    inner_folds: Annotated[int, typer.Option(min=2, help="Inner folds that every trial is judged on.")] = 3,
    output: Annotated[Optional[Path], typer.Option(help="Recipe file; default: tuning/<recipe>.json in the state.")] = None,  # noqa: UP045
) -> None:
    """Search settings for each fold on its training and validation films alone, and write them as a recipe file."""
    if output is not None and output.suffix != ".json":
        raise typer.BadParameter(f"{output.name} does not end in .json, as recipe files do", param_hint="--output")
    from services.console import StudyView, findings_report
    from training.protocol import tuning

    with StudyView(out) as view:
        ready = study(recipe, data, workers)
        tuned, findings = tuning.tune(ready, view, fold or (), trials, backbone, inner_folds)
    path = output or home() / "tuning" / f"{tuned.name}.json"
    tuning.save(tuned, path)
    out.print(findings_report(findings))
    out.print(f"recipe: {path}")


@app.command()
def register(
    recipe: RecipeOption = "demo",
    data: DataOption = None,
    workers: WorkersOption = CORES,
    prove: Annotated[
        bool, typer.Option("--prove", help="Compare bfloat16 with float32 on all films, for serving to decide.")
    ] = False,
) -> None:
    """Refit the chosen backbone on all films and register the bundle as a new version, unless an equal one is registered."""
    from services.console import StudyView
    from training import promotion, registry
    from training.protocol.summary import compare
    from training.version_card import findings

    with StudyView(out) as view:
        ready = study(recipe, data, workers)
        plan = ready.plan(view)
        results = ready.results()
        lines = compare(results)
        unit = ready.refit(promotion.pick(ready.recipe, lines), view)
        graph = ready.segmenter(view)
    found = findings(ready.recipe, unit.backbone, plan, results, lines, ready.cohorts)
    with out.status("bundling: export, calibration, golden case, input gate"):
        version, new = registry.register(ready.recipe, unit, found, graph, ready.tracking, ready.cohorts, prove)
    state = "registered" if new else "already registered"
    out.print(f"{state}: version {version} of {ready.recipe.registered_name} ({unit.backbone.name})")
    out.print(registry.answered(ready.recipe), markup=False, highlight=False)


@app.command()
def serve(
    name: Annotated[str, typer.Option(help="Registered model.")] = "mdmt",
    alias: Annotated[str, typer.Option()] = "champion",
    host: Annotated[str, typer.Option()] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8000,
    answer: Annotated[
        list[Path] | None, typer.Option(help="Post this file to /predict, print the answer, stop. Repeatable.")
    ] = None,
) -> None:
    """Serve the registered version over HTTP; with --answer, start the service, post the files, print the answers and stop."""
    from serving.server import running
    from serving.server import serve as serve_for_ever
    from serving.settings import Settings

    settings = Settings(model_name=name, alias=alias, tracking_uri=tracking().uri, cache_dir=home() / "bundles")
    if not answer:
        out.print(f"service: http://{host}:{port}/docs    stop: Ctrl-C    research use only, not a medical device")
        serve_for_ever(settings, host, port)
        return
    from serving.client import post_film, wait_until_ready

    with running(settings, host=host, port=0) as url:
        wait_until_ready(url)
        for file in answer:
            out.print(f"POST /predict  {file.name}")
            out.print_json(data=post_film(url, file))


@app.command()
def predict(
    films: Annotated[list[Path], typer.Argument(help="Chest X-rays (PNG, JPEG or DICOM), or folders of them.")],
    output: Annotated[Optional[Path], typer.Option(help="Write a row per film to this .csv or .jsonl file.")] = None,  # noqa: UP045
    url: Annotated[Optional[str], typer.Option(help="Ask this running service instead (key: MDMT_API_KEY).")] = None,  # noqa: UP045
    name: Annotated[str, typer.Option(help="Registered model.")] = "mdmt",
    alias: Annotated[str, typer.Option()] = "champion",
    workers: WorkersOption = CORES,
) -> None:
    """Answer films with the registered version, on the engine that the service runs. Research use only, not a medical device."""
    from serving.client import ask
    from serving.files import answers, films_of, served, tasks_of, write
    from serving.registry import registry_source
    from serving.settings import Settings

    found = films_of(films)
    settings = Settings(model_name=name, alias=alias, cache_dir=home() / "bundles", workers=workers, alone=1)
    if url:
        model = ask(url, "/model")
        version, tasks = f"{model['name']} version {model['version']}", tasks_of(model)
        rows = served(url, found, settings.limits, workers)
    else:
        loaded = registry_source(settings.model_copy(update={"tracking_uri": tracking().uri})).load()
        version, tasks = f"{loaded.name} version {loaded.version}", loaded.bundle.tasks
        rows = answers(loaded, found, settings.limits, workers)
    if output is None:
        for row in rows:
            out.print_json(data=dict(row))
        return
    refused: list[str] = []
    write(rows, output, tasks, lambda row: refused.append(row["file"]) if "problem" in row else None)
    out.print(f"{output}: {len(found) - len(refused)} answered, {len(refused)} refused, by {version}")


def main() -> None:
    """Our own errors are sentences for people; anything else is a defect and keeps its traceback."""
    withhold_texts()
    try:
        app()
    except SystemExit as end:
        if end.code == 130:  # what Typer makes of a KeyboardInterrupt
            err.print("interrupted; what is finished is kept, the same command goes on")
        raise
    except Exception as error:
        if type(error).__module__.split(".")[0] not in OUR_ROOMS:
            raise
        err.print("error", style="bold red", end=": ")
        err.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
