"""The calls that exist here: method, path and query of each. Anything else is refused before the engine hears of it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from services.launcher.errors import Malformed, Refused

YES_NO = "1|0|[Tt]rue|[Ff]alse"
NO = "0|[Ff]alse"
SECONDS = r"[0-9]{1,12}(\.[0-9]{1,9})?"
CONTAINER = r"(?P<id>[A-Za-z0-9][A-Za-z0-9_.-]{0,127})"
FILTERS = ("label", "status", "id", "name", "exited")
SIGNALS = "(SIG)?(TERM|KILL|INT|USR1|USR2)|2|9|10|12|15"


@dataclass(frozen=True)
class Operation:
    """One call: `name` says what to do, `query` holds a pattern for each parameter that may be given."""

    name: str
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.path.replace(CONTAINER, '{id}').replace('(?P<image>.+)', '{name}')}"


OPERATIONS = (
    Operation("ping", "GET", "/_ping"),
    Operation("version", "GET", "/version"),
    Operation(
        "list", "GET", "/containers/json", {"all": YES_NO, "size": NO, "trunc_cmd": YES_NO, "limit": "-1|[0-9]{1,4}", "filters": ".*"}
    ),
    Operation("create", "POST", "/containers/create", {"name": ".*"}),
    Operation("inspect", "GET", f"/containers/{CONTAINER}/json", {"size": NO}),
    Operation("start", "POST", f"/containers/{CONTAINER}/start"),
    Operation("stop", "POST", f"/containers/{CONTAINER}/stop", {"t": "[0-9]{1,3}"}),
    Operation("kill", "POST", f"/containers/{CONTAINER}/kill", {"signal": SIGNALS}),
    Operation("wait", "POST", f"/containers/{CONTAINER}/wait", {"condition": "not-running|next-exit|removed"}),
    Operation(
        "logs", "GET", f"/containers/{CONTAINER}/logs",
        {
            "stdout": YES_NO, "stderr": YES_NO, "follow": YES_NO, "timestamps": YES_NO, "since": SECONDS, "until": SECONDS,
            "tail": "all|[0-9]{1,9}",
        },
    ),
    Operation("remove", "DELETE", f"/containers/{CONTAINER}", {"v": YES_NO, "force": YES_NO, "link": NO}),
    Operation("image", "GET", "/images/(?P<image>.+)/json"),
)  # fmt: skip
ALLOWED = ", ".join(map(str, OPERATIONS))


def find(method: str, raw_path: str) -> tuple[Operation, dict[str, str]]:
    """The operation of a request, and what its path names. The path is read as it was sent: nothing is decoded or shortened."""
    path = re.sub(r"\A/v1\.[0-9]{2}(?=/)", "", raw_path)
    for operation in OPERATIONS:
        found = re.fullmatch(operation.path, path)
        if found and method == operation.method:
            return operation, found.groupdict()
    raise Refused("call", f"{method} {raw_path}", ALLOWED)


def query(operation: Operation, sent: str) -> dict[str, str]:
    """The parameters, each known, once and as its pattern says."""
    try:
        pairs = parse_qsl(sent, keep_blank_values=True, strict_parsing=bool(sent), errors="strict", max_num_fields=16)
    except ValueError as error:
        raise Malformed(f"the query is not readable: {error}") from error
    for parameter, value in pairs:
        pattern = operation.query.get(parameter)
        if pattern is None:
            raise Refused(f"{operation.name}?{parameter}", value, f"only {', '.join(operation.query) or 'no parameters'}")
        if not re.fullmatch(pattern, value, re.DOTALL):
            raise Refused(f"{operation.name}?{parameter}", value, pattern)
    if len(dict(pairs)) < len(pairs):
        raise Refused(f"{operation.name}?", [parameter for parameter, _ in pairs], "each parameter once")
    return dict(pairs)


def filters(sent: str, stack: str) -> str:
    """The filters of a list, narrowed to our stack."""
    try:
        asked: Any = json.loads(sent)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"filters are not readable: {error}") from error
    if not isinstance(asked, dict) or not all(
        key in FILTERS and isinstance(values, list) and all(isinstance(value, str) for value in values)
        for key, values in asked.items()
    ):
        raise Refused("list?filters", asked, f"an object of lists of texts, with keys of {', '.join(FILTERS)}")
    return json.dumps({**asked, "label": [*asked.get("label", []), f"mdmt.stack={stack}"]})
