"""compose.auth.yml and compose.signing.yml on a real engine: who may do what in MLflow, and whose versions are served."""

import base64
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from cxr.signature import fingerprint, new_key
from tests.platform.stack import Stack, predict, small_recipe, stack, status

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
API = "/api/2.0/mlflow"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """MLflow with accounts; the trainer has an experiment, the promoter a registered model. Versions are signed."""
    folder = tmp_path_factory.mktemp("accounts")
    private, public = new_key()
    settings = {"MDMT_RECIPE": "/data/small.json", "MDMT_TRUSTED_KEYS": public}
    with stack(folder, "compose.auth.yml", "compose.signing.yml", **settings) as made:
        (folder / "secrets" / "signing.key").write_text(private)
        made.compose("up", "--detach", "--wait", "mlflow", seconds=600)
        made.compose("run", "--rm", "-T", "accounts", seconds=300)
        assert call(made, "trainer", "experiments/create", name="theirs") == 200
        assert call(made, "promoter", "registered-models/create", name="mdmt") == 200
        yield made


def login(stack: Stack, name: str, password: str | None = None) -> dict[str, str]:
    password = password or (stack.folder / "secrets" / f"mlflow_{name.removeprefix('admin') or 'admin_password'}").read_text()
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def call(stack: Stack, account: str | None, path: str, /, **body: Any) -> int:
    headers = login(stack, account) if account else {}
    return status(f"{stack.mlflow}{API}/{path}", json.dumps(body).encode(), **headers)


@pytest.mark.parametrize("path", ["experiments/search", "runs/search", "registered-models/create", "logged-models/search"])
def test_without_an_account_every_call_is_refused(platform: Stack, path: str) -> None:
    assert call(platform, None, path, max_results=1) == 401


@pytest.mark.parametrize(
    "path", ["/", "/get-artifact", f"{API}-artifacts/artifacts", "/graphql", "/signup", "/metrics", "/version"]
)
def test_without_an_account_no_page_shows_anything_tracked(platform: Stack, path: str) -> None:
    assert status(f"{platform.mlflow}{path}") in (401, 404, 405) or path == "/version"


@pytest.mark.parametrize("password", ["", "password1234", "wrong"])
def test_a_wrong_password_is_refused(platform: Stack, password: str) -> None:
    headers = login(platform, "admin", password or " ")
    assert status(f"{platform.mlflow}{API}/experiments/search", b'{"max_results": 1}', **headers) == 401


@pytest.mark.parametrize(("name", "expected"), [("trainer", 200), ("promoter", 200), ("server", 403)])
def test_who_may_log_runs(platform: Stack, name: str, expected: int) -> None:
    assert call(platform, name, "runs/create", experiment_id="1") == expected


@pytest.mark.parametrize("name", ["trainer", "promoter", "server"])
def test_everybody_with_an_account_reads(platform: Stack, name: str) -> None:
    assert call(platform, name, "runs/search", experiment_ids=["1"]) == 200
    assert status(f"{platform.mlflow}{API}/registered-models/get?name=mdmt", **login(platform, name)) == 200


@pytest.mark.parametrize("name", ["server", "trainer"])
def test_neither_the_server_nor_what_trains_can_change_the_registry(platform: Stack, name: str) -> None:
    assert call(platform, name, "registered-models/alias", name="mdmt", alias="champion", version="1") == 403
    assert call(platform, name, "model-versions/create", name="mdmt", source="models:/m-" + "0" * 32) == 403
    assert call(platform, name, "registered-models/set-tag", name="mdmt", key="a", value="b") == 403


def test_the_promoter_can(platform: Stack) -> None:
    assert call(platform, "promoter", "registered-models/set-tag", name="mdmt", key="a", value="b") == 200


def test_a_protocol_is_trained_promoted_and_served_with_accounts_that_may_no_more_than_they_need(platform: Stack) -> None:
    recipe = small_recipe("mdmt", folds=2, epochs=2, segmenter={"preset": "smoke"})
    write = "import sys; open('/data/small.json', 'w').write(sys.argv[1])"
    platform.compose("run", "--rm", "--no-deps", "-T", "phantom", "python", "-c", write, recipe.model_dump_json())
    platform.compose("up", "--detach", "--wait", seconds=2400)
    platform.compose("cp", "trainer:/data/phantom/held-out/held_out_1.png", str(platform.folder / "film.png"))
    assert predict(platform.serving, (platform.folder / "film.png").read_bytes())["model"]["alias"] == "champion"
    with urllib.request.urlopen(f"{platform.serving}/model", timeout=20) as answer:
        assert json.load(answer)["signed_by"] == fingerprint(platform.environment["MDMT_TRUSTED_KEYS"])


def test_nobody_but_admin_makes_accounts(platform: Stack) -> None:
    for name in ("trainer", "promoter", "server"):
        assert call(platform, name, "users/create", username=f"by-{name}", password="long enough to be one") in (401, 403)
    assert call(platform, "admin", "users/create", username="by-admin", password="long enough to be one") == 200


def test_mlflow_is_healthy_with_accounts_and_the_accounts_are_set_right_again(platform: Stack) -> None:
    assert platform.health("mlflow") == "healthy"
    platform.compose("run", "--rm", "-T", "accounts", seconds=300)
    assert call(platform, "trainer", "runs/create", experiment_id="1") == 200
