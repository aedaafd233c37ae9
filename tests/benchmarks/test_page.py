"""What every page says of itself, and that its verdicts follow from its figures."""

import subprocess
from pathlib import Path

from benchmarks import page, peers
from benchmarks.page import Goal, table
from benchmarks.serving.load import Load
from benchmarks.serving.report import Bare, Cell, Measured, Results, best_peer, blocks
from cxr.host import cores, processor


def test_a_page_names_command_machine_load_versions_and_threads(tmp_path: Path) -> None:
    page.write(tmp_path / "page.md", [*page.head("Title", "About.", ("numpy", "no-such-package"), "one", quick=True), "", "End."])
    text = (tmp_path / "page.md").read_text()
    for words in (
        "# Title\n\nResearch use only",
        "quick form",
        "`python ",
        processor(),
        f"{cores()} cores",
        "load ",
        "Threads: one",
    ):
        assert words in text
    assert "numpy " in text and "no-such-package" not in text
    assert text.endswith("\n\nAbout.\n\nEnd.\n")


def test_a_package_is_first_looked_for_in_the_environment_of_the_peers(tmp_path: Path) -> None:
    (tmp_path / "numpy-0.0.1.dist-info").mkdir()
    (tmp_path / "numpy-0.0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 0.0.1\n")
    assert page.versions(("numpy",), [tmp_path]) == [("numpy", "0.0.1")]
    assert page.versions(("numpy",)) != [("numpy", "0.0.1")]


def test_the_environment_of_the_peers_sees_the_packages_of_the_project(tmp_path: Path) -> None:
    python, missing = peers.environment(("no-such-package",), ("numpy",), tmp_path / "peers")  # nothing is to be installed
    assert missing == "" and python == tmp_path / "peers" / "bin" / "python"
    assert [file.name for file in peers.site_packages(tmp_path / "peers").iterdir()] == ["project.pth"]


def test_tables_and_verdicts() -> None:
    assert table(("a", "b"), [(1, "x")]) == "| a | b |\n|---|---|\n| 1 | x |"
    goals = page.goals([Goal("at most 2 s", "1.5 s", True), Goal("at most 1 s", "1.5 s", False)])
    assert "| at most 2 s | 1.5 s | reached |" in goals and "| at most 1 s | 1.5 s | not reached |" in goals


def test_the_service_is_judged_within_each_round() -> None:
    cell, loop = Cell("mobilenet_v2", "product", "jpeg"), {"ms": [10.0] * 100, "seconds": 1.0, "cpu_ms": 10.0}
    results, loads = Results(rounds=1, window=1.0), {c: Load(ms=[10.5] * 190, seconds=1.0) for c in (1, 8, 32)}
    results.bare[cell] = [Bare([loop], [loop, loop])]
    results.measured[cell, "ours"] = [Measured(loads, start=2.0, memory=200.0, peak=400.0)]
    results.measured[cell, "ray"] = [Measured({c: Load(ms=[30.0] * 60, seconds=1.0) for c in (1, 8, 32)}, 9.0, 900.0, 950.0)]
    results.floors["openvino", "float32", "product"] = [[loop, loop]]
    results.missing["litserve"] = "not here"
    text = "\n".join(blocks(results))
    assert text.count("| reached |") == 6 and text.count("| not reached |") == 1  # 3.2 times the best peer is not 5
    assert "≥ 5 × best peer (ray) | 3.17× | not reached" in text and "- litserve: not here" in text
    assert "| 210 MB, at most 419 | reached |" in text


def test_what_a_lighter_unet_buys_is_judged_against_the_best_peer_with_the_usual_one() -> None:
    cell, loop = Cell("mobilenet_v2", "product", "jpeg"), {"ms": [10.0] * 100, "seconds": 1.0, "cpu_ms": 10.0}
    usual, results = cell._replace(unet="resnet18"), Results(rounds=1, window=1.0)
    for where, name, films in ((cell, "ours", 200), (cell, "ray", 60), (usual, "ours", 50), (usual, "ray", 20)):
        results.bare[where] = [Bare([loop], [loop, loop])]
        loads = {c: Load(ms=[30.0] * films, seconds=1.0) for c in (1, 8, 32)}
        results.measured[where, name] = [Measured(loads, 9.0, 900.0, 900.0)]
    assert best_peer(results, usual) == "ray" and best_peer(results, cell._replace(kind="png")) is None
    text = "\n".join(blocks(results))
    assert "U-Net on resnet18: films/s of ours with its own U-Net ≥ 5 × this peer | 10.00× | reached" in text
    assert "U-Net on resnet18: films/s ≥ 5 × best peer (ray) | 2.50× | not reached" in text


def test_a_page_names_the_commit_and_whether_code_was_changed_since(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    assert page.commit(tmp_path) == "unknown"
    (tmp_path / "benchmarks").mkdir()
    code, written = tmp_path / "code.py", tmp_path / "benchmarks" / "grid.md"
    for file in (code, written):
        file.write_text("1")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    written.write_text("2")
    short = git("rev-parse", "HEAD")[:7]
    assert page.commit(tmp_path) == short
    code.write_text("2")
    assert page.commit(tmp_path) == f"{short} + changes"
    assert f"- Code: {page.commit(page.ROOT)}" in "\n".join(page.head("t", "a", (), "one"))
