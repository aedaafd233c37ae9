"""What the settings allow of a request. One rule throughout: what is absent is filled in, what differs from the allowed is refused."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from services.launcher.asked import DeviceRequest, HostConfig, LogConfig
from services.launcher.errors import Refused
from services.launcher.settings import Settings

STATE, DATA, TMP = "/state", "/data", "/tmp"
WORKER = ("python", "-m", "training.protocol.worker", "--mailbox")
STAGES = (("mdmt",), ("python", "mdmt.py"))
VERBS = ("segmenter", "prepare", "register")
ROLES = ("worker", "stage")
MAILBOX = re.compile(rf"{STATE}/mailboxes/[A-Za-z0-9][A-Za-z0-9_.-]{{0,100}}")
# Not OMP_* or MLFLOW_* as a whole: OMP_TOOL_LIBRARIES loads a library, MLFLOW_ALLOW_PICKLE_DESERIALIZATION runs what it reads.
VARIABLE = re.compile(
    r"MDMT_[A-Z0-9_]+|MLFLOW_TRACKING_(URI|USERNAME|PASSWORD|TOKEN)|MLFLOW_HTTP_REQUEST_[A-Z_]+|MLFLOW_DISABLE_TELEMETRY"
    r"|MLFLOW_LOGGING_LEVEL|MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR|MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT|HF_HUB_OFFLINE"
    r"|(OMP|MKL|OPENBLAS|NUMEXPR)_NUM_THREADS|OMP_WAIT_POLICY|GOMP_SPINCOUNT|CUDA_VISIBLE_DEVICES|CUBLAS_WORKSPACE_CONFIG"
    r"|PYTHONUNBUFFERED|PYTHONHASHSEED|TZ"
)
LABEL = re.compile(r"mdmt\.[a-z][a-z0-9_.-]{0,60}")
LABEL_LENGTH = 200
TMP_OPTION = re.compile(r"rw|noexec|nosuid|nodev|mode=1777|size=([0-9]{1,15})([kmg]?)")
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
LOG_OPTION = {"max-size": re.compile(r"[1-9][0-9]?[km]"), "max-file": re.compile(r"[1-9]")}
LOGS = {"max-size": "10m", "max-file": "2"}
GPU = re.compile(r"[0-9]{1,3}|GPU-[0-9a-f-]{1,40}")


def image(asked: str, name: str, identity: str) -> str:
    """The id of the one image."""
    if asked not in (name, identity):
        raise Refused("Image", asked, f"{name} or its id {identity}")
    return identity


def role(command: Sequence[str]) -> str:
    """What a command is: the role of its container."""
    if tuple(command[:-1]) == WORKER and MAILBOX.fullmatch(command[-1]):
        return "worker"
    for begin in STAGES:
        if tuple(command[: len(begin)]) == begin and len(command) > len(begin) and command[len(begin)] in VERBS:
            return "stage"
    stages = " or ".join(f"`{' '.join(begin)} VERB …`" for begin in STAGES)
    raise Refused(
        "Cmd", list(command), f"`{' '.join(WORKER)} {STATE}/mailboxes/NAME`, {stages} with VERB one of {', '.join(VERBS)}"
    )


def name(asked: str | None, kind: str, stack: str) -> str | None:
    """A name is a host name in the network: one outside of our own could stand in for a service."""
    begin = f"{stack}-{kind}-"
    if asked is not None and not re.fullmatch(rf"{re.escape(begin)}[A-Za-z0-9_.-]{{1,100}}", asked):
        raise Refused("name", asked, f"{begin}… of letters, digits, dots, dashes and underscores")
    return asked


def environment(asked: Sequence[str]) -> list[str]:
    """Only variables that ours read. An error names the variable, never its value."""
    for entry in asked:
        variable, equals, _ = entry.partition("=")
        if not equals or not VARIABLE.fullmatch(variable):
            raise Refused("Env", variable, f"NAME=value with a name of {VARIABLE.pattern}")
    return list(asked)


def labels(asked: Mapping[str, str], kind: str, stack: str) -> dict[str, str]:
    """Ours, with role and stack as they are."""
    forced = {"mdmt.role": kind, "mdmt.stack": stack}
    for label, value in asked.items():
        if not LABEL.fullmatch(label) or len(value) > LABEL_LENGTH:
            raise Refused(f"Labels.{label}", value, f"labels mdmt.… of at most {LABEL_LENGTH} characters")
        if forced.get(label, value) != value:
            raise Refused(f"Labels.{label}", value, f"absent or {forced[label]}")
    return {**asked, **forced}


def same(field: str, asked: Any, forced: Any, *neutral: Any) -> Any:
    """The one value that is allowed, asked for or not."""
    if asked is not None and asked != forced and asked not in neutral:
        raise Refused(field, asked, f"absent or {forced}")
    return forced


def bounded(field: str, asked: int | None, most: int, least: int = 1) -> int:
    """The number asked for, or the most."""
    if asked is not None and not least <= asked <= most:
        raise Refused(field, asked, f"{least} to {most}")
    return most if asked is None else asked


def mounts(host: HostConfig, places: Mapping[str, Any], settings: Settings) -> list[dict[str, Any]]:
    """The two volumes at their two places; the data for reading only."""
    volumes = {STATE: settings.state_volume, DATA: settings.data_volume}
    said = ", ".join(f"the volume {volume} at {place}" for place, volume in volumes.items()) + " (read-only)"
    binds = {f"{volumes[STATE]}:{STATE}{mode}": (STATE, mode == ":ro") for mode in ("", ":rw", ":ro")}
    binds[f"{volumes[DATA]}:{DATA}:ro"] = (DATA, True)
    wanted = []
    for bind in host.binds or ():
        if bind not in binds:
            raise Refused("HostConfig.Binds", bind, said)
        wanted.append(binds[bind])
    for mount in host.mounts or ():
        if volumes.get(mount.target) != mount.source or (mount.target == DATA and not mount.read_only):
            raise Refused("HostConfig.Mounts", mount.model_dump(by_alias=True), said)
        wanted.append((mount.target, bool(mount.read_only)))
    if len({place for place, _ in wanted}) < len(wanted):
        raise Refused("HostConfig.Mounts", [place for place, _ in wanted], "each place once")
    for place, options in places.items():
        if place not in volumes or options not in ({}, None):
            raise Refused("Volumes", {place: options}, f"{STATE} and {DATA}, with nothing in them")
    return [{"Type": "volume", "Source": volumes[place], "Target": place, "ReadOnly": only} for place, only in wanted]


def tmpfs(asked: Mapping[str, str], most: int) -> dict[str, str]:
    """/tmp in memory, where nothing can be executed."""
    size = most
    for place, options in asked.items():
        if place != TMP:
            raise Refused("HostConfig.Tmpfs", place, TMP)
        for option in filter(None, options.split(",")):
            found = TMP_OPTION.fullmatch(option)
            if not found:
                raise Refused(f"HostConfig.Tmpfs.{TMP}", option, "rw, noexec, nosuid, nodev, mode=1777 and size=…")
            if found[1]:
                size = bounded(f"HostConfig.Tmpfs.{TMP}", int(found[1]) * UNITS[found[2]], most)
    return {TMP: f"rw,noexec,nosuid,nodev,mode=1777,size={size}"}


def network(asked: str | None, endpoints: Mapping[str, Any], allowed: str) -> str:
    """The one network, without a name or an address of the caller's choice in it."""
    same("HostConfig.NetworkMode", asked, allowed, "default", "")
    if endpoints not in ({}, {allowed: None}, {"EndpointsConfig": {}}, {"EndpointsConfig": {allowed: None}}):
        raise Refused("NetworkingConfig", dict(endpoints), f"absent, or the network {allowed} without options")
    return allowed


def gpus(asked: Sequence[DeviceRequest], most: int) -> list[dict[str, Any]]:
    """By number or by name, never all."""
    allowed = f"one request for 1 to {most} GPUs, by Count or by DeviceIDs" if most else "no GPU here (MDMT_UNIT_GPUS is 0)"
    field = "HostConfig.DeviceRequests"
    if not asked:
        return []
    request = asked[0]
    ids = request.device_ids or []
    number = len(ids) if ids else request.count or 0
    if len(asked) > 1 or not 1 <= number <= most or (ids and request.count) or request.capabilities != [["gpu"]]:
        raise Refused(field, [one.model_dump(by_alias=True) for one in asked], allowed)
    for identity in ids:
        if not GPU.fullmatch(identity):
            raise Refused(f"{field}.DeviceIDs", identity, "a number, or GPU-… as the driver names it")
    place = {"DeviceIDs": ids} if ids else {"Count": number}
    return [{"Driver": "nvidia", "Capabilities": [["gpu"]], **place}]


def logs(asked: LogConfig | None) -> dict[str, Any]:
    """Files of the engine that do not grow without end."""
    if asked is None:
        return {"Type": "json-file", "Config": LOGS}
    for option, value in asked.config.items():
        if not LOG_OPTION[option].fullmatch(value):
            raise Refused(f"HostConfig.LogConfig.{option}", value, "max-size from 1k to 99m, max-file from 1 to 9")
    return {"Type": asked.type, "Config": {**LOGS, **asked.config}}
