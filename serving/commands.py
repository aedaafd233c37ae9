"""`mdmt keys …` and `mdmt audit`: API keys, the pair of keys that signs bundles, and whether an audit log is whole.

Imports are inside the verbs, so that help is instant.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

keys_app = typer.Typer(no_args_is_help=True, help="API keys of the service, and keys that sign bundles.")
FileOption = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--file", envvar="MDMT_KEYS_FILE", help="Key file; default: keys.json in the state."),
]


@keys_app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Whose key it is; shown by `mdmt keys list` only.")],
    scope: Annotated[list[str], typer.Option(help="predict or admin; repeatable.")] = ["predict"],  # noqa: B006 - typer reads it
    file: FileOption = None,
) -> None:
    """Make a key and print it: it is not kept, only its digest is. The service takes it from the next request on."""
    from serving.keys import SCOPES, KeyFileError, add_key

    unknown = sorted(set(scope) - set(SCOPES))
    if unknown:
        raise KeyFileError(f"scope {', '.join(unknown)}: choose among {', '.join(SCOPES)}")
    typer.echo(add_key(_path(file), name, tuple(one for one in SCOPES if one in scope)))
    typer.echo(f"kept as a digest in {_path(file)}; the service reads it with MDMT_KEYS_FILE", err=True)


@keys_app.command("list")
def listed(file: FileOption = None) -> None:
    """Id, name, scopes and age of every key."""
    from serving.keys import read_keys

    for key in read_keys(_path(file)).values():
        typer.echo(f"{key.id}  {key.created}  {','.join(key.scopes):14}  {key.name}")


@keys_app.command("revoke")
def revoke(identity: Annotated[str, typer.Argument(help="Id, as `mdmt keys list` shows it.")], file: FileOption = None) -> None:
    """Take a key out of the file; it is refused from the next request on."""
    from serving.keys import revoke_key

    gone = revoke_key(_path(file), identity)
    typer.echo(f"revoked {gone.id} ({gone.name})")


@keys_app.command("signing")
def signing(folder: Annotated[Path, typer.Argument(help="Where signing.key (private) and signing.pub are written.")]) -> None:
    """Make the pair that signs bundles: MDMT_SIGNING_KEY_FILE where versions are registered, MDMT_TRUSTED_KEYS where they are served."""
    from cxr.signature import fingerprint, new_key

    private, public = new_key()
    folder.mkdir(parents=True, exist_ok=True)
    secret = folder / "signing.key"
    secret.touch(mode=0o600, exist_ok=False)
    secret.write_text(private + "\n")
    (folder / "signing.pub").write_text(public + "\n")
    typer.echo(f"MDMT_SIGNING_KEY_FILE={secret}\nMDMT_TRUSTED_KEYS={public}")
    typer.echo(f"fingerprint {fingerprint(public)}", err=True)


def audit(
    log: Annotated[Path, typer.Argument(help="The service's log, or only its audit lines; - for standard input.")],
    film: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A film as it was sent: its lines are printed.")
    ] = None,
) -> None:
    """Check that no line of an audit log is missing or altered. The secret is MDMT_AUDIT_KEY, as the service had it.

    Lines cut off at the very end are noticed where the service has ended by itself: it says so in its last line. Of a log without that
    line it is said up to where it is whole.
    """
    from serving.audit import Audit, Chains
    from serving.keys import KeyFileError

    secret = os.environ.get("MDMT_AUDIT_KEY", "")
    if not secret:
        raise KeyFileError("MDMT_AUDIT_KEY is not set: without the service's secret nobody can check its log")
    with sys.stdin if str(log) == "-" else log.open() as lines:
        found = Chains(lines, secret, film and Audit(secret).film(film.read_bytes()))
    if film is not None:
        typer.echo("\n".join(found.of_film or [f"no entry of {film.name}"]))
    for one in found.wrong or ([] if found.entries else ["no entry of an audit log in it"]):
        typer.echo(one)
    if found.wrong or not found.entries:
        raise typer.Exit(1)
    end = (
        ""
        if found.open_entry is None
        else (
            f" up to entry {found.open_entry} of the last service, which did not say its end: it runs, was killed, or lines are missing"
        )
    )
    typer.echo(f"whole: {found.entries} entries{end}")


def _path(file: Path | None) -> Path:
    return file or Path(os.environ.get("MDMT_HOME", "state")) / "keys.json"
