"""`mdmt weights`: ImageNet weights of the backbones, from the publishers or from a file, and what lies on this machine."""

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.table import Table

from services.commands.checking import refuse_unfit
from services.commands.downloading import DownloadFailed, fetch
from training import imagenet

weights_app = typer.Typer(no_args_is_help=True, help="ImageNet weights of the backbones.")
NameArgument = Annotated[str, typer.Argument(help="Name of a backbone.")]


def _say(line: str) -> None:
    _out().print(line, soft_wrap=True, markup=False, highlight=False)


def _out() -> Console:
    return Console(width=None if sys.stdout.isatty() else 165)


@weights_app.command("list")
def show() -> None:
    """Which weights are here, how large they are, under which licence, and how much of their digest is public."""
    folder = imagenet.folder()
    table = Table("backbone", "here", "published file", "MB", "licence", "SHA-256 public", title=f"ImageNet weights in {folder}")
    for name, entry in imagenet.entries().items():
        size = f"{entry.mebibytes * 1.048576:.1f}" if entry.mebibytes else f"≈ {entry.parameters * 4e-6:.0f}"
        public = "whole" if entry.sha256 else f"starts {entry.sha256_prefix}" if entry.sha256_prefix else "no"
        table.add_row(name, here(name, folder), entry.file, size, entry.licence, public)
    _out().print(table)


def here(name: str, folder: Path) -> str:
    """The file that would be used, in a word or two."""
    try:
        path = imagenet.find(name, folder)
    except imagenet.WeightsNotFound:
        return "absent"
    except imagenet.WeightsRefused:
        return "two files: keep one"
    if path == imagenet.packaged(name):
        return "packaged"
    return "published" if path.name == imagenet.entry(name).file else f"own: {path.name}"


@weights_app.command("fetch")
def fetch_verb(
    name: Annotated[Optional[str], typer.Argument(help="Name of a backbone.")] = None,  # noqa: UP045
    everything: Annotated[bool, typer.Option("--all", help="Every backbone whose weights are absent.")] = False,
) -> None:
    """Download published weights; what is already here is left alone."""
    if everything == (name is not None):
        raise typer.BadParameter("give the name of one backbone, or --all")
    folder = imagenet.folder()
    failures: list[str] = []
    for entry in [imagenet.entry(name)] if name else imagenet.entries().values():
        state = here(entry.name, folder)
        if state not in ("absent", "packaged") or (everything and state == "packaged"):
            _say(f"{entry.name}: {state}, left as it is")
            continue
        try:
            _say(f"{entry.name}: {entry.file}, SHA-256 {fetch(entry, folder)}")
        except (DownloadFailed, imagenet.WeightsRefused) as error:
            if not everything:
                raise
            failures.append(str(error))
    if failures:
        raise imagenet.WeightsNotFound(f"{len(failures)} file(s) were not fetched:\n" + "\n".join(failures))


@weights_app.command("import")
def import_verb(name: NameArgument, file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)]) -> None:
    """Take a copy of a file (a torch state_dict or .safetensors) whose tensors fit the backbone; it replaces what was here."""
    target = take(name, file, imagenet.folder())
    _say(f"{name}: {imagenet.origin(name, target.parent)}")


def take(name: str, file: Path, folder: Path) -> Path:
    """Copy, check the copy, put it in place; returns the place. Raises WeightsRefused; what was there stays then."""
    entry = imagenet.entry(name)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{os.getpid()}.{name}{'.safetensors' if file.suffix == '.safetensors' else '.pth'}"
    try:
        shutil.copyfile(file, part)
        digest = imagenet.sha256(part)
        if file.name == entry.file:
            imagenet.refuse_other(file.name, digest, entry.expected)
        refuse_unfit(name, part)
        published = digest.startswith(entry.expected) if entry.expected else file.name == entry.file
        target = folder / (entry.file if published else f"{name}{part.suffix}")
        imagenet.install(name, part, target)
    finally:
        part.unlink(missing_ok=True)
    return target


@weights_app.command("verify")
def verify_verb() -> None:
    """Read every file that is here and compare its digest with the published or recorded one."""
    folder, wrong = imagenet.folder(), []
    for name in imagenet.entries():
        if here(name, folder) == "absent":
            continue
        try:
            digest = imagenet.verify(name, folder)
            _say(f"{name}: {imagenet.find(name, folder).name}, SHA-256 {digest}")
        except imagenet.WeightsRefused as error:
            wrong.append(str(error))
    if wrong:
        raise imagenet.WeightsRefused(f"{len(wrong)} file(s) are not what they should be:\n" + "\n".join(wrong))
