"""`make env`: settings and random passwords of the stack, written once and never written over. Standard library only.

Run as `python -m services.commands.env`: it comes before anything is installed.
"""

import argparse
import os
import secrets
import sys
from pathlib import Path

SECRETS = (
    "postgres_password",
    "mlflow_admin_password",
    "mlflow_session_key",
    "mlflow_trainer",
    "mlflow_promoter",
    "mlflow_server",
    "ray_token",
    "serving_audit_key",
)
SETTINGS = """# Settings of docker-compose.yml, written by `make env`; docs/operations.md lists all. Passwords: the files in MDMT_SECRETS.
MDMT_SECRETS={folder}
DOCKER_GID={group}
MDMT_DOCKER_SOCKET={socket}
"""
ROOTLESS = "docker.sock"


class NoEngine(RuntimeError):
    """There is no engine's socket to give to the launcher."""


def find_socket() -> Path:
    """The engine's socket: that of DOCKER_HOST, a rootless engine's, or the usual one. Raises NoEngine."""
    named = os.environ.get("DOCKER_HOST", "")
    places = [Path(named.removeprefix("unix://"))] if named.startswith("unix://") else []
    places += [Path(os.environ.get("XDG_RUNTIME_DIR", "/run/user/0")) / ROOTLESS, Path("/var/run/docker.sock")]
    for place in places:
        if place.is_socket():
            return place
    raise NoEngine(f"no engine's socket at {', '.join(map(str, places))}: start Docker, or set DOCKER_HOST=unix://...")


def write_secrets(folder: Path) -> list[str]:
    """Write the secrets that are absent; returns their names.

    The folder is its owner's alone; the files in it are readable for the users inside the containers, who see one file each.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    new = [name for name in SECRETS if not (folder / name).exists()]
    for name in new:
        path = folder / name
        path.write_text(secrets.token_urlsafe(32), encoding="utf-8")
        path.chmod(0o444)
    return new


def write_settings(file: Path, folder: Path, socket: Path) -> bool:
    """Write `.env` unless it is there; says whether it was written."""
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(SETTINGS.format(folder=folder, group=socket.stat().st_gid, socket=socket))
    return True


def main() -> None:
    options = argparse.ArgumentParser(prog="make env", description=__doc__)
    options.add_argument("--folder", type=Path, default=Path.cwd(), help="where .env and secrets/ are written")
    here = options.parse_args().folder.resolve()
    try:
        socket = find_socket()
    except NoEngine as error:
        sys.exit(f"error: {error}")
    written = write_secrets(here / "secrets")
    wrote = write_settings(here / ".env", here / "secrets", socket)
    sys.stdout.write(
        f".env {'written' if wrote else 'is there, left as it is'}; {len(written)} of {len(SECRETS)} secrets are new\n"
    )


if __name__ == "__main__":
    main()
