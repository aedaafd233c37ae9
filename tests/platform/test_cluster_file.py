"""compose.cluster.yml as it is written: Ray has the rights of a unit, and nobody gets to it without its token."""

from pathlib import Path
from typing import Any

import pytest
import yaml

REPO = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((REPO / "compose.cluster.yml").read_text())["services"]
of_ray = pytest.mark.parametrize("name", ["ray-head", "ray-worker"])


@of_ray
def test_a_node_of_ray_has_no_more_rights_than_a_unit_and_bounds(name: str) -> None:
    service = SERVICES[name]
    assert service["image"] == "${MDMT_UNIT_IMAGE:-mdmt-unit}"
    assert (service["user"], service["read_only"], service["cap_drop"]) == ("10001:10001", True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"] and service["cpus"] and service["pids_limit"] and service["logging"]["options"]["max-size"]
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "network_mode"} & service.keys()
    assert not any("docker" in volume for volume in service["volumes"])


@pytest.mark.parametrize("name", SERVICES)
def test_everybody_shows_the_token_which_is_a_file_of_the_owner_s(name: str) -> None:
    service = SERVICES[name]
    assert service["secrets"] == ["ray_token"]
    assert service["environment"]["RAY_AUTH_MODE"] == "token"
    assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"


def test_nothing_but_ray_s_page_is_published_and_on_loopback() -> None:
    assert SERVICES["ray-head"]["ports"] == ["${MDMT_BIND:-127.0.0.1}:${MDMT_RAY_PORT:-8265}:8265"]
    assert "ports" not in SERVICES["ray-worker"]


def test_workers_train_beside_mlflow_and_have_no_way_out() -> None:
    worker = SERVICES["ray-worker"]
    assert worker["networks"] == ["units"]
    assert sorted(worker["volumes"]) == ["data:/data:ro", "state:/state"]
    assert worker["environment"]["RAY_worker_niceness"] == "0"


def test_the_trainer_finds_ray_where_its_client_port_is() -> None:
    alias = SERVICES["ray-head"]["networks"]["units"]["aliases"][0]
    assert SERVICES["trainer"]["environment"]["RAY_ADDRESS"] == f"ray://{alias}:10001"
    assert "--ray-client-server-port=10001" in SERVICES["ray-head"]["command"][-1]
    assert "units" in SERVICES["trainer"]["networks"]
