"""`mdmt trainer`, the training service, and its clients: `submit`, `status`, `cancel`, `logs`."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.console import Console

if TYPE_CHECKING:
    from services.trainer.client import Client

UrlOption = Annotated[str, typer.Option(help="The training service.", envvar="MDMT_TRAINER_URL")]
IdArgument = Annotated[str, typer.Argument(help="Id of a protocol; its first digits are enough.")]
URL = "http://127.0.0.1:8080"
LOOK_SECONDS = 1.0


def trainer(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8080,
) -> None:
    """Run the training service: it accepts recipes over HTTP and works them off. Settings: MDMT_HOME, MDMT_EXECUTOR, MDMT_SLOTS, …"""
    from services.trainer.server import serve
    from services.trainer.settings import Settings

    def listening(url: str) -> None:
        said = f"training service: {url}/docs    stop: Ctrl-C    research use only, not a medical device"
        Console(stderr=True).print(said, soft_wrap=True)

    serve(Settings(), host, port, listening)


def submit(
    recipe: Annotated[str, typer.Argument(help="Name of a shipped recipe, or path of a .json file.")],
    data: Annotated[Optional[str], typer.Option(help="Data folder on the service's machine; default: its own.")] = None,  # noqa: UP045
    url: UrlOption = URL,
    promote: Annotated[
        bool, typer.Option(help="Whether the new version may become champion: as said last before it is registered.")
    ] = True,
    follow: Annotated[bool, typer.Option("--follow", help="Watch until it is over; exit code 1 unless it finished.")] = False,
) -> None:
    """Submit a recipe to the training service. The same recipe again goes on where it was, and does no work twice."""
    from services.live_view import picture
    from services.trainer.client import Client
    from training.protocol.recipe import load_recipe

    client = Client(url)
    sent = load_recipe(recipe).model_dump(mode="json") if Path(recipe).suffix == ".json" else recipe
    answer, queued = client.submit(sent, data, promote)
    if not queued:
        wish = "may become champion" if promote else "will not be promoted"
        Console().print(f"it was submitted before and goes on; its version {wish}, as asked now", soft_wrap=True)
    if follow:
        _watch(client, answer["id"])
    else:
        Console().print(picture(answer))


def status(
    id: Annotated[Optional[str], typer.Argument(help="Id of a protocol, or its first digits; default: all.")] = None,  # noqa: UP045
    url: UrlOption = URL,
    follow: Annotated[bool, typer.Option("--follow", help="Watch until it is over, by default the newest.")] = False,
) -> None:
    """Show the protocols of the training service, or one in full."""
    from services.live_view import listing, picture
    from services.trainer.client import Client, ServiceRefused

    client = Client(url)
    if id is None and follow:
        lines = client.all()
        if not lines:
            raise ServiceRefused("there is no protocol to follow: `mdmt submit RECIPE` makes one")
        id = lines[-1]["id"]
    if id is None:
        Console().print(listing(client.all()))
    elif follow:
        _watch(client, id)
    else:
        Console().print(picture(client.get(id)))


def cancel(id: IdArgument, url: UrlOption = URL) -> None:
    """Cancel a protocol. Running units are given back with their last epoch kept; submit it again to go on."""
    from services.live_view import picture
    from services.trainer.client import Client

    Console().print(picture(Client(url).cancel(id)))


def logs(
    id: IdArgument,
    url: UrlOption = URL,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the protocol is over.")] = False,
) -> None:
    """Print the log of a protocol."""
    from services.trainer.client import Client
    from services.trainer.states import OVER

    client, offset = Client(url), 0
    id = client.full(id)
    while True:
        over = client.get(id)["state"] in OVER
        text, offset = client.log(id, offset)
        sys.stdout.buffer.write(text)
        sys.stdout.flush()
        if not text and (over or not follow):
            return
        if not text:
            time.sleep(LOOK_SECONDS)


def _watch(client: "Client", id: str) -> None:
    from services.live_view import follow

    if follow(client.follow(id), Console())["state"] != "finished":
        raise typer.Exit(1)


VERBS = (trainer, submit, status, cancel, logs)
