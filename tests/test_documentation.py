"""What the documents name exists: files, verbs, make targets."""

import re
from pathlib import Path

import pytest

import mdmt
from serving.client import wait_until_ready
from serving.server import running
from serving.settings import Settings
from tests.serving.tiny_bundle import encoded, film, loader, write_bundle
from training.evidence.page import PICTURES
from training.protocol.recipe import RECIPES, load_recipe

REPO = Path(__file__).parents[1]
DOCUMENTS = [name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md") if (REPO / name).is_file()]
DOCUMENTS += sorted(str(path.relative_to(REPO)) for path in REPO.glob("docs/*.md"))
FOLDERS = ("cxr", "training", "services", "serving", "tests", "docs", ".ci")
MADE = ("state/", "data/")  # by running something
GROUPS = "|".join(group.name for group in mdmt.app.registered_groups if group.name)
every_document = pytest.mark.parametrize("name", DOCUMENTS)


def text(name: str) -> str:
    return (REPO / name).read_text(encoding="utf-8")


def verbs() -> set[str]:
    plain = {command.callback.__name__ for command in mdmt.app.registered_commands}
    nested = {
        (group.name, command.name) for group in mdmt.app.registered_groups for command in group.typer_instance.registered_commands
    }
    return plain | {f"{group} {name}" for group, name in nested}


def test_the_documents_are_there() -> None:
    assert {"README.md", "CONTRIBUTING.md"} <= set(DOCUMENTS)


@every_document
def test_every_relative_link_and_picture_leads_to_a_file(name: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text(name))
    assert not [link for link in links if "://" not in link and not ((REPO / name).parent / link).exists()]


@pytest.mark.parametrize("snippet", re.findall(r"```python\n(.*?)```", text("README.md"), flags=re.DOTALL))
def test_python_in_the_readme_runs_against_a_service(
    snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("film.png").write_bytes(encoded(film()))
    with running(Settings(retry_seconds=0.05), loader(write_bundle(tmp_path / "bundle"))) as url:
        wait_until_ready(url)
        exec(snippet.replace("http://127.0.0.1:8000", url), {})
    assert capsys.readouterr().out.strip()


EVIDENCE = "docs/evidence.md"


def test_the_page_of_evidence_has_one_place_for_every_recipe_that_writes_a_part_and_no_other() -> None:
    wanted = [name for name in RECIPES if load_recipe(name).evidence]
    assert len(wanted) >= 4
    marks = re.findall(r"^<!-- (/?[\w-]+) -->$", text(EVIDENCE), flags=re.MULTILINE)
    assert sorted(marks) == sorted([*wanted, *(f"/{name}" for name in wanted)])
    pairs = list(zip(marks[::2], marks[1::2], strict=True))
    assert all(end == f"/{begin}" for begin, end in pairs)  # one after the other, none inside another


def test_the_page_of_evidence_shows_pictures_that_are_there_and_all_of_them() -> None:
    shown = re.findall(r"^!\[[^\]]+\]\(([^)]+)\)$", text(EVIDENCE), flags=re.MULTILINE)
    there = {f"{PICTURES}/{path.name}" for path in (REPO / "docs" / PICTURES).iterdir()}
    assert len(shown) == len(set(shown)) and set(shown) == there
    assert all((REPO / "docs" / name).read_bytes().startswith(b"\x89PNG") for name in shown)


def test_a_best_that_is_said_to_be_bold_is() -> None:
    parts = re.findall(r"<!-- ([\w-]+) -->\n(.*?)<!-- /\1 -->", text(EVIDENCE), flags=re.DOTALL)
    told = [content for _, content in parts if "our best is bold" in content]
    assert told and all(re.search(r"\| \*\*\d+\.\d\*\* \|", content) for content in told)


@every_document
def test_every_path_in_backticks_exists(name: str) -> None:
    found = re.findall(r"`([\w.\-/]+)`", re.sub(r"```.*?```", "", text(name), flags=re.DOTALL))
    inside = {path for path in found if "/" in path and path.split("/")[0] in FOLDERS}
    loose = {path for path in found if re.fullmatch(r"[\w-]+\.(md|toml|in|lock)", path)}
    paths = {path for path in inside | loose if not path.startswith(MADE)}
    assert not [path for path in paths if not (REPO / path).exists()]


@every_document
def test_every_verb_that_is_mentioned_is_one(name: str) -> None:
    mentioned = set(re.findall(rf"mdmt ((?:(?:{GROUPS}) )?[a-z]+)\b", " ".join(re.findall(r"`+[^`]*`+", text(name)))))
    assert mentioned <= verbs()


def test_the_page_of_verbs_has_a_row_for_every_verb_and_no_other() -> None:
    assert set(re.findall(r"^\| `mdmt ([a-z ]+?)` \|", text("docs/verbs.md"), flags=re.MULTILINE)) == verbs()


@every_document
def test_every_make_target_that_is_mentioned_exists(name: str) -> None:
    targets = set(" ".join(re.findall(r"^([\w -]+):", text("Makefile"), flags=re.MULTILINE)).split())
    code = " ".join(re.findall(r"```.*?```|`[^`]+`", text(name), flags=re.DOTALL))
    assert set(re.findall(r"\bmake ([a-z-]+)", code)) <= targets


def test_the_makefile_calls_verbs_that_exist() -> None:
    called = set(re.findall(rf"\$\(MDMT\) ((?:(?:{GROUPS}) )?[a-z]+)", text("Makefile")))
    assert called
    assert called <= verbs()


def test_the_readme_maps_every_package() -> None:
    packages = {path.parent.name for path in REPO.glob("*/__init__.py")}
    assert not [package for package in packages if f"\n{package}/" not in text("README.md")]


def test_contributing_tells_what_proves_each_addition_by_tests_that_exist() -> None:
    assert re.findall(r"`(tests/[^`]+)`", text("CONTRIBUTING.md"))
    assert not [path for path in re.findall(r"`(tests/[^`]+)`", text("CONTRIBUTING.md")) if not (REPO / path).exists()]


@every_document
def test_no_document_holds_an_absolute_path_or_a_line_over_the_limit(name: str) -> None:
    assert not re.findall(r"(?<![\w.:/])/(?:work|home|root|tmp)/\S*", text(name))
    written = name != "docs/evidence.md"  # `mdmt report` writes that one
    assert not [line for line in text(name).splitlines() if written and len(line) > 160 and not line.startswith(("|", "!["))]
