"""The body of a creation as `docker` 7 sends it: every field we know, with the values that its type can hold here.

Nothing of a body is passed on as it came. A field that is not named here is refused, whatever it holds; one that the SDK always sends
and that we have no use for may only hold its neutral value. What depends on the settings is judged in `rules`.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_pascal

from services.launcher.errors import Malformed, Refused, show

No = Literal[False] | None
Blank = Literal[""] | None
Text = Annotated[str, Field(max_length=4096, pattern=r"^[^\x00]*$")]
Privilege = Literal["no-new-privileges", "no-new-privileges:true"]
REPORTED = 5


def _nothing(value: Any) -> Any:
    if value is not None and value != [] and value != {}:
        raise ValueError("it should be absent or empty")
    return value


Nothing = Annotated[Any, AfterValidator(_nothing)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=to_pascal)


class Mount(_Part):
    """A named volume and its place."""

    type: Literal["volume"]
    source: str
    target: str
    read_only: bool | None = None


class DeviceRequest(_Part):
    """GPUs by number or by name; nothing else is a device here."""

    driver: Literal["nvidia", ""] | None = None
    count: int | None = None
    device_ids: list[str] | None = Field(None, alias="DeviceIDs")
    capabilities: list[list[Literal["gpu"]]]
    options: Nothing = None


class LogConfig(_Part):
    """Where the engine keeps what a container prints."""

    type: Literal["json-file", "local"]
    config: dict[Literal["max-size", "max-file"], str] = Field(default_factory=dict)


class RestartPolicy(_Part):
    """A container is never started again by the engine: what failed is the executor's to judge."""

    name: Literal["no", ""]
    maximum_retry_count: Literal[0] | None = None


class HostConfig(_Part):
    """What the host does for a container."""

    network_mode: str | None = None
    memory: int | None = None
    memory_swap: int | None = None
    nano_cpus: int | None = None
    pids_limit: int | None = None
    shm_size: int | None = None
    mounts: list[Mount] | None = None
    binds: list[str] | None = None
    tmpfs: dict[str, str] | None = None
    device_requests: list[DeviceRequest] | None = None
    log_config: LogConfig | None = None
    restart_policy: RestartPolicy | None = None
    init: bool | None = None
    readonly_rootfs: Literal[True] | None = None
    cap_drop: list[Literal["ALL"]] | None = None
    security_opt: list[Privilege] | None = None
    ipc_mode: Literal["private", ""] | None = None
    cgroupns_mode: Literal["private", ""] | None = None
    privileged: No = None
    publish_all_ports: No = None
    auto_remove: No = None
    oom_kill_disable: No = None
    pid_mode: Blank = None
    uts_mode: Blank = Field(None, alias="UTSMode")
    userns_mode: Blank = None
    cap_add: Nothing = None
    devices: Nothing = None
    links: Nothing = None
    volumes_from: Nothing = None
    port_bindings: Nothing = None


class Asked(_Part):
    """A container as it is asked for."""

    image: str
    cmd: list[Text] = Field(max_length=64)
    env: list[Text] | None = Field(None, max_length=128)
    labels: dict[str, str] | None = Field(None, max_length=32)
    host_config: HostConfig = HostConfig()
    networking_config: dict[str, Any] | None = None
    volumes: dict[str, Any] | None = None
    user: str | None = None
    stop_signal: Literal["SIGTERM"] | None = None
    stop_timeout: Annotated[int, Field(ge=0, le=60)] | None = None
    attach_stdout: bool | None = None
    attach_stderr: bool | None = None
    attach_stdin: No = None
    tty: No = None
    open_stdin: No = None
    stdin_once: No = None
    network_disabled: No = None
    hostname: Blank = None
    domainname: Blank = None
    working_dir: Blank = None
    mac_address: Blank = None
    runtime: Blank = None
    entrypoint: Nothing = None
    exposed_ports: Nothing = None
    healthcheck: Nothing = None


PARTS: dict[str, type[_Part]] = {
    "": Asked, "HostConfig": HostConfig, "Mounts": Mount, "DeviceRequests": DeviceRequest, "LogConfig": LogConfig,
    "RestartPolicy": RestartPolicy,
}  # fmt: skip


def read(body: bytes) -> Asked:
    """The request in a body. Raises Malformed when it is not one JSON object with each key once, Refused for a field or a value."""
    try:
        data = json.loads(body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"the body is not readable: {error}; allowed: one JSON object in UTF-8, each key once") from error
    if not isinstance(data, dict):
        raise Malformed(f"the body is {show(data)}; allowed: one JSON object")
    try:
        return Asked.model_validate(data)
    except ValidationError as error:
        raise _refusal(error) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two parsers may pick different ones of two equal keys."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {show(next(key for key in keys if keys.count(key) > 1))} is there twice")
    return found


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _refusal(error: ValidationError) -> Refused:
    """The first fields that are wrong; never a value of the environment, which may be a password."""
    problems = error.errors(include_url=False, include_context=False)
    first = problems[0]
    place = [str(part) for part in first["loc"]]
    found = "(not shown)" if place[0] == "Env" else first["input"]
    part = next((name for name in reversed(place[:-1]) if name in PARTS), "")
    if first["type"] == "extra_forbidden":
        known = ", ".join(sorted(field.alias or name for name, field in PARTS[part].model_fields.items()))
        allowed = f"no such field; known are {known}"
    else:
        wanted = [problem["msg"] for problem in problems if problem["loc"][:1] == first["loc"][:1]][:REPORTED]
        allowed = "; ".join(dict.fromkeys(wanted))
    return Refused(".".join(place), found, allowed)
