"""One of several processes that train one network: `python -m training.learning.rank CONNECTION MEETING`, started by `fit_together`.

RANK, LOCAL_RANK and WORLD_SIZE are those of torchrun. CONNECTION is an inherited file descriptor, MEETING the file by which the ranks
find each other. It says ("ready",), is sent its work, and says ("failed", monotonic seconds, error) if it fails. Rank 0 says
("epoch", number, figures) after each epoch and waits for an answer, and at the end ("fit", best weights, their epoch, history).
"""

import io
import os
import pickle
import select
import signal
import sys
import time
from datetime import timedelta
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any, NoReturn

import timm.layers
import torch
import torch.distributed as dist

from training.learning.fitting import fit
from training.learning.team import Team
from training.memory import keep_freed_buffers

PATIENCE = timedelta(hours=2)  # in a collective: who started the ranks sees at once when one is dead, and waits for no timeout


def main() -> None:
    """Whoever started it ends it: signals for the whole group of processes are not for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    keep_freed_buffers()
    starter, meeting = Connection(int(sys.argv[1])), sys.argv[2]
    Thread(target=_end_with, args=(starter.fileno(),), daemon=True).start()
    team = Team(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    starter.send(("ready",))
    try:
        fitted = _train(team, starter, meeting)
        if team.rank == 0:
            starter.send(("fit", *fitted))
        signal.pause()
    except Exception as error:
        starter.send(("failed", time.monotonic(), _portable(error)))
        raise


def _train(team: Team, starter: Connection, meeting: str) -> tuple[dict[str, Any], int, list[dict[str, float]]]:
    # Code is loaded with the network; it comes from the process that started this one.
    work = torch.load(io.BytesIO(starter.recv_bytes()), map_location="cpu", weights_only=False)
    network, train, val, settings, seed, checkpoints, device, identity, way, threads = work
    torch.set_num_threads(threads)
    backend = "gloo"
    if device == "cuda":
        backend, device = "nccl", f"cuda:{team.rank}"
        torch.cuda.set_device(team.rank)
        network = timm.layers.convert_sync_batchnorm(network)  # torch's own drops the activation inside timm's layers
    dist.init_process_group(backend, init_method=f"file://{meeting}", rank=team.rank, world_size=team.size, timeout=PATIENCE)

    def progress(epoch: int, figures: dict[str, float]) -> None:
        starter.send(("epoch", epoch, figures))
        starter.recv()  # the epoch is noted: now its checkpoint may be written

    fitted = fit(
        network, train, val, settings, seed, progress if team.rank == 0 else None,
        checkpoints=checkpoints, device=device, identity=identity, team=team, way=way,
    )  # fmt: skip
    weights = {name: value.cpu().numpy() for name, value in fitted.network.state_dict().items()}
    return weights, fitted.best_epoch, fitted.history


def _end_with(starter: int) -> NoReturn:
    """End this process when the one that started it is gone, whatever it is doing."""
    gone = select.poll()
    gone.register(starter, 0)  # only that the other end is closed
    gone.poll()
    os._exit(1)


def _portable(error: Exception) -> Exception:
    """The error, if it survives the way to another process; else its text."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  whatever an exception's own code does
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


if __name__ == "__main__":
    main()
