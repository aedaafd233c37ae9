"""What the training service asks the launcher for."""

from docker.types import Mount

WORKER = ["python", "-m", "training.protocol.worker", "--mailbox", "/state/mailboxes/worker-0"]
STAGE = ["mdmt", "prepare", "--recipe", "demo", "--data", "/data/phantom"]
MOUNTS = [Mount("/state", "mdmt_state"), Mount("/data", "mdmt_data", read_only=True)]
GIB = 1 << 30
