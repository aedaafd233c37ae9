"""The compose files as they are written: what every service must have, and what only one may have."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

REPO = Path(__file__).parents[2]
FILES = sorted(path.name for path in REPO.glob("*compose*.yml"))
STACK: dict[str, Any] = yaml.safe_load((REPO / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
every_service = pytest.mark.parametrize("name", SERVICES)
every_file = pytest.mark.parametrize("file", FILES)


def once(service: dict[str, Any]) -> bool:
    return service["restart"] == "no"


@every_service
def test_no_service_can_gain_a_right_or_write_to_its_own_image(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] in ("10001:10001", "postgres")
    assert any(mount.startswith("/tmp:size=") for mount in service["tmpfs"])
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "userns_mode", "cgroup_parent"} & service.keys()


@every_service
def test_every_service_has_bounds(name: str) -> None:
    service = SERVICES[name]
    assert service["mem_limit"] and service["cpus"] and service["pids_limit"]
    assert service["logging"]["options"]["max-size"]


@every_service
def test_what_keeps_running_is_restarted_and_asked_for_its_health(name: str) -> None:
    service = SERVICES[name]
    if once(service):
        assert service["healthcheck"] == {"disable": True}
        followers = [other for other in SERVICES.values() if name in other.get("depends_on", {})]
        # `up --wait` takes the end of a container for a failure unless somebody waits for that end.
        assert {"condition": "service_completed_successfully"} in [other["depends_on"][name] for other in followers]
    else:
        assert service["restart"] == "unless-stopped"
        assert {"test", "interval", "timeout", "retries", "start_period"} <= service["healthcheck"].keys()


@every_service
def test_a_start_waits_for_health_or_for_an_end_never_for_a_mere_start(name: str) -> None:
    conditions = {needed["condition"] for needed in SERVICES[name].get("depends_on", {}).values()}
    assert conditions <= {"service_healthy", "service_completed_successfully"}


@every_service
def test_ports_are_published_on_loopback_unless_asked_otherwise(name: str) -> None:
    asked = "${MDMT_SERVING_BIND:-${MDMT_BIND:-127.0.0.1}}:" if name == "serving" else "${MDMT_BIND:-127.0.0.1}:"
    for port in SERVICES[name].get("ports", []):
        assert port.startswith(asked)


def test_the_service_knows_where_it_is_published_and_gets_keys_names_and_rates_only_where_they_are_set() -> None:
    told = SERVICES["serving"]["environment"]
    assert SERVICES["serving"]["ports"][0].startswith(f"{told['MDMT_PUBLISHED_ON']}:")
    assert {name for name, value in told.items() if value is None} == {
        "MDMT_KEYS_FILE", "MDMT_HOSTS", "MDMT_TRUSTED_KEYS", "MDMT_RATE",
    }  # fmt: skip


def test_the_audit_key_comes_as_a_file_that_make_env_writes() -> None:
    from services.commands.env import SECRETS

    (secret,) = SERVICES["serving"]["secrets"]
    assert SERVICES["serving"]["environment"]["MDMT_AUDIT_KEY_FILE"] == f"/run/secrets/{secret}"
    assert secret in SECRETS
    assert STACK["secrets"][secret]["file"].endswith(f"/{secret}")


def test_the_service_is_given_more_time_to_end_than_it_takes() -> None:
    from serving.ending import QUEUE_SECONDS
    from serving.server import GRACE_SECONDS
    from serving.settings import Settings

    assert SERVICES["serving"]["stop_grace_period"] == "30s"
    assert Settings.model_fields["farewell_seconds"].default + QUEUE_SECONDS + GRACE_SECONDS <= 20


def test_only_the_three_web_services_are_published() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"mlflow", "trainer", "serving"}


def test_only_the_launcher_has_the_engine_s_socket_and_it_meets_nobody_but_the_trainer() -> None:
    with_socket = [name for name, service in SERVICES.items() if "docker.sock" in str(service.get("volumes"))]
    assert with_socket == ["launcher"]
    assert SERVICES["launcher"]["networks"] == ["control"]
    assert [name for name, service in SERVICES.items() if "control" in service.get("networks", [])] == ["launcher", "trainer"]


def test_the_database_is_reached_by_mlflow_and_the_trainer_alone() -> None:
    members = {name for name, service in SERVICES.items() if "database" in service.get("networks", [])}
    assert members == {"postgres", "migrate", "mlflow", "trainer"}


def test_all_networks_but_the_published_one_have_no_way_out() -> None:
    assert {name for name, network in STACK["networks"].items() if not (network or {}).get("internal")} == {"web"}


def test_the_launcher_is_told_the_names_that_compose_gives() -> None:
    told = SERVICES["launcher"]["environment"]
    assert told["MDMT_UNIT_NETWORK"] == STACK["networks"]["units"]["name"]
    assert told["MDMT_STATE_VOLUME"] == STACK["volumes"]["state"]["name"]
    assert told["MDMT_DATA_VOLUME"] == STACK["volumes"]["data"]["name"]
    assert told["MDMT_UNIT_IMAGE"] == SERVICES["unit"]["image"]
    assert told.items() <= SERVICES["trainer"]["environment"].items()


@every_file
def test_no_file_holds_a_password_or_a_default_for_one(file: str) -> None:
    text = (REPO / file).read_text()
    assert not re.search(
        r"(?i)(password|secret_key|token)\s*[:=][ \t]*(?!\$\$\(cat)['\"]?[\w$]", text.replace("PASSWORD_FILE", "")
    )
    assert not re.search(r"\$\{[A-Z_]*(PASSWORD|SECRETS|TOKEN)[A-Z_]*:?-", text)


@every_file
def test_images_have_neither_digests_nor_latest(file: str) -> None:
    for service in yaml.safe_load((REPO / file).read_text())["services"].values():
        image = service.get("image", "")
        assert "@sha256" not in image
        assert not image.endswith(":latest")


def test_accounts_of_mlflow_are_the_trainer_s_the_promoter_s_and_the_server_s() -> None:
    from services.tracking.accounts import GRANTS

    overlay = yaml.safe_load((REPO / "compose.auth.yml").read_text())
    assert set(GRANTS) == {"trainer", "promoter", "server"}
    assert {f"mlflow_{name}" for name in GRANTS} <= set(overlay["services"]["accounts"]["secrets"])
    assert overlay["services"]["serving"]["environment"] == {"MLFLOW_TRACKING_USERNAME": "server"}
    own = {"MLFLOW_TRACKING_USERNAME": "promoter", "MDMT_UNITS_USERNAME": "trainer"}
    assert overlay["services"]["trainer"]["environment"] == own


def test_an_empty_recipe_is_none_and_only_one_that_is_not_set_is_the_demo() -> None:
    assert SERVICES["trainer"]["environment"]["MDMT_RECIPE"] == "${MDMT_RECIPE-demo}"


def test_gpus_are_reserved_in_an_overlay_only() -> None:
    assert "devices" not in (REPO / "docker-compose.yml").read_text()
    overlay = yaml.safe_load((REPO / "compose.gpu.yml").read_text())["services"]
    (device,) = overlay["unit"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert "MDMT_GPUS" in overlay["trainer"]["environment"]


def test_the_trainer_is_asked_under_its_service_s_name_whatever_other_names_are_set() -> None:
    assert SERVICES["trainer"]["environment"]["MDMT_TRAINER_HOSTS"] == "trainer,${MDMT_TRAINER_HOSTS:-}"


@pytest.mark.parametrize("path", [*FILES, "README.md", "Makefile", "docs/operations.md", "docs/cluster.md"])
def test_no_command_that_is_shown_names_overlays_which_the_next_command_would_drop(path: str) -> None:
    assert not re.findall(r"docker compose .*-f \S+", (REPO / path).read_text())


def test_the_trainer_moves_the_alias_that_serving_follows_and_serving_can_be_told_another_model() -> None:
    from serving.settings import Settings

    served, trained = SERVICES["serving"]["environment"], SERVICES["trainer"]["environment"]
    assert trained["MDMT_ALIAS"] == served["MDMT_ALIAS"] == f"${{MDMT_ALIAS:-{Settings.model_fields['alias'].default}}}"
    assert served["MDMT_MODEL_NAME"] == f"${{MDMT_MODEL_NAME:-{Settings.model_fields['model_name'].default}}}"
