"""The body that the engine gets: every value of it is ours, or was asked for and is allowed."""

from typing import Any

from services.launcher import rules
from services.launcher.asked import Asked
from services.launcher.settings import Settings

LEAST_MEMORY = 16 << 20


def creation(asked: Asked, called: str | None, settings: Settings, identity: str) -> tuple[str | None, dict[str, Any]]:
    """Name and body of the container as the engine gets it, built anew: `identity` is the id of the allowed image.

    Raises Refused, with the field, what was found there and what is allowed.
    """
    host, kind = asked.host_config, rules.role(asked.cmd)
    cards = rules.gpus(host.device_requests or (), settings.unit_gpus)
    variables = rules.environment(asked.env or ())
    memory = rules.bounded("HostConfig.Memory", host.memory, settings.unit_memory, LEAST_MEMORY)
    body = {
        "Image": rules.image(asked.image, settings.unit_image, identity),
        "Cmd": asked.cmd,
        # An engine whose default runtime is NVIDIA's reads this variable of the image where no GPU is asked for.
        "Env": variables if cards else [*variables, "NVIDIA_VISIBLE_DEVICES=void"],
        "Labels": rules.labels(asked.labels or {}, kind, settings.stack),
        "User": rules.same("User", asked.user, settings.unit_user, ""),
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "Tty": False,
        "OpenStdin": False,
        "StopSignal": "SIGTERM",
        "HostConfig": {
            "NetworkMode": rules.network(host.network_mode, asked.networking_config or {}, settings.unit_network),
            "Mounts": rules.mounts(host, asked.volumes or {}, settings),
            "Tmpfs": rules.tmpfs(host.tmpfs or {}, settings.unit_tmp),
            "ReadonlyRootfs": True,
            "Privileged": False,
            "CapAdd": [],
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "IpcMode": "private",
            "CgroupnsMode": "private",
            "PidMode": "",
            "UTSMode": "",
            "UsernsMode": "",
            "Memory": memory,
            "MemorySwap": rules.same("HostConfig.MemorySwap", host.memory_swap, memory),
            "ShmSize": rules.bounded("HostConfig.ShmSize", host.shm_size, settings.unit_shm),
            "PidsLimit": rules.bounded("HostConfig.PidsLimit", host.pids_limit, settings.unit_pids),
            "NanoCpus": rules.bounded("HostConfig.NanoCpus", host.nano_cpus, round(settings.unit_cpus * 1e9)),
            "DeviceRequests": cards,
            "LogConfig": rules.logs(host.log_config),
            "RestartPolicy": {"Name": "no"},
            "AutoRemove": False,
            "Init": bool(host.init),
        },
    }
    if asked.stop_timeout is not None:
        body["StopTimeout"] = asked.stop_timeout
    return rules.name(called, kind, settings.stack), body
