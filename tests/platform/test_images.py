"""The Dockerfiles and the requirements that they install."""

import importlib.metadata
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

REPO = Path(__file__).parents[2]
DOCKERFILES = [path.read_text() for path in sorted(REPO.glob("Dockerfile.*"))]
IMAGES = ("control", "serve", "unit")
TORCH = "RUN pip install --no-cache-dir torch==2.14.1 torchvision==0.29.1"


def script(name: str) -> ModuleType:
    """A file of docker/, which is no package: a package of that name would hide the Docker SDK."""
    spec = importlib.util.spec_from_file_location(f"docker_{name}", REPO / "docker" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


lock = script("lock")
LOCK = lock.locked((REPO / "requirements.lock").read_text())


def requirements(image: str) -> str:
    return (REPO / "docker" / f"{image}.txt").read_text()


@pytest.mark.parametrize("file", ["requirements.lock", *(f"docker/{image}.txt" for image in IMAGES)])
def test_every_line_of_a_lock_is_a_version_with_the_hash_of_its_file(file: str) -> None:
    lines = [line for line in (REPO / file).read_text().splitlines() if not line.startswith("#")]
    assert len(lock.locked("\n".join(lines))) == len(lines) > 40


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_s_requirements_are_its_share_of_the_lock(image: str) -> None:
    names = lock.closure(lock.ROOTS[image], lock.installed())
    assert requirements(image) == lock.lines(names, LOCK)


def test_everything_in_requirements_in_is_locked_at_the_version_that_it_names() -> None:
    wanted = re.findall(r"^([\w-]+)(?:\[\w+\])?(?:==([\w.]+))?", (REPO / "requirements.in").read_text(), flags=re.MULTILINE)
    assert len(wanted) > 30
    for name, version in wanted:
        assert version in ("", LOCK[lock.canonicalize_name(name)].version)


def test_every_room_that_the_command_line_imports_is_in_the_images_that_have_it() -> None:
    rooms = set(re.findall(r"^from (\w+)", (REPO / "mdmt.py").read_text(), flags=re.MULTILINE)) & {
        path.name for path in REPO.iterdir()
    }
    assert rooms >= {"services", "serving"}
    for stage in (REPO / "Dockerfile.train").read_text().split("\nFROM ")[1:]:
        assert rooms <= set(re.findall(r"^COPY (\w+) ", stage, flags=re.MULTILINE))


@pytest.mark.parametrize("image", ["control", "serve"])
def test_only_the_unit_s_image_has_torch(image: str) -> None:
    assert not {"torch", "torchvision", "triton", "timm", "monai"} & lock.locked(requirements(image)).keys()
    assert "torch" in lock.locked(requirements("unit"))


def test_the_serving_image_has_mlflow_s_client_and_not_its_server() -> None:
    assert "mlflow-skinny" in lock.locked(requirements("serve"))
    assert not {"mlflow", "flask", "pandas", "docker"} & lock.locked(requirements("serve")).keys()


@pytest.mark.parametrize("text", DOCKERFILES)
def test_a_dockerfile_builds_without_a_registry_and_as_nobody(text: str) -> None:
    assert not re.search(r"^# *syntax|@sha256|curl|apt-get", text, flags=re.MULTILINE)
    assert "ARG BASE_IMAGE=python:3.11-slim-bookworm" in text
    for stage in re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]:
        assert stage.splitlines()[0].split(" AS ")[0] in ("${BASE_IMAGE}", "unit", "control")
        assert re.findall(r"^USER (.+)$", stage, flags=re.MULTILINE) == ["10001:10001"]
        assert stage.index("--require-hashes") < stage.index("COPY cxr cxr")  # code changes more often than requirements


@pytest.mark.parametrize("text", DOCKERFILES)
def test_torch_is_installed_by_one_line_right_after_from_so_that_its_layer_is_stored_once(text: str) -> None:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    for place, line in enumerate(lines):
        if line.startswith("RUN") and " torch" in line:
            assert line == TORCH
            assert lines[place - 1].startswith("FROM ${BASE_IMAGE}")


def test_the_torch_line_names_the_locked_versions() -> None:
    assert all(f"{name}=={LOCK[name].version}" in TORCH for name in ("torch", "torchvision"))


def test_an_image_without_torch_knows_the_versions_that_fingerprints_name(tmp_path: Path) -> None:
    script("known_versions").declare(requirements("unit"), tmp_path)
    found = {one.name: one.version for one in importlib.metadata.distributions(path=[str(tmp_path)])}
    assert found == {name: LOCK[name].version for name in ("torch", "torchvision", "timm")}


def test_a_lock_without_one_of_those_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="torchvision"):
        script("known_versions").declare("torch==2.14.1 --hash=sha256:0\n", tmp_path)


def test_a_closure_follows_extras_and_markers_and_names_what_is_missing() -> None:
    packages = {
        "a": lock.Package("a", "1", ("b[x]", "w; sys_platform == 'win32'")),
        "b": lock.Package("b", "1", ("c; extra == 'x'", "d; extra == 'y'")),
        "c": lock.Package("c", "1", ("a",)),
    }
    assert lock.closure(["a"], packages) == {"a", "b", "c"}
    with pytest.raises(KeyError, match="d"):
        lock.closure(["b[y]"], packages)


def test_only_code_and_requirements_go_to_the_builder() -> None:
    rules = (REPO / ".dockerignore").read_text().split("\n")
    assert "*" in rules
    assert {rule for rule in rules if rule.startswith("!")} == {
        "!cxr", "!training", "!services", "!serving", "!docker/*.txt", "!docker/*.py", "!mdmt.py",
    }  # fmt: skip
