"""`mdmt weights`: files come whole and checked from a publisher or from a disk, or they do not come at all."""

import hashlib
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from services.commands import checking, downloading, weights
from services.commands.downloading import DownloadFailed, fetch
from services.commands.weights import take, weights_app
from training import imagenet
from training.imagenet import Entry, WeightsNotFound, WeightsRefused, digest, entries, find
from training.learning.backbones import build, check

SMALLEST = "shufflenet_v2_x0_5"


@pytest.fixture(autouse=True)
def checked_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The check that is a program of its own, without the seconds that loading torch anew takes; one test below runs the program."""

    def refuse_unfit(name: str, file: Path) -> None:
        if check.main([name, str(file)]):
            raise WeightsRefused(capsys.readouterr().err)

    for module in (downloading, weights):
        monkeypatch.setattr(module, "refuse_unfit", refuse_unfit)


def checkpoint(path: Path) -> Path:
    """A file as torchvision publishes it: the whole network with its classifier."""
    from torchvision.models import shufflenet_v2_x0_5

    torch.manual_seed(7)
    torch.save(shufflenet_v2_x0_5(weights=None).state_dict(), path)
    return path


class Publisher(SimpleHTTPRequestHandler):
    """Files of a folder; those named cut… end early, those named silent… do not begin."""

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        if Path(self.path).name.startswith("silent"):
            threading.Event().wait(1)
            return
        if not Path(self.path).name.startswith("cut"):
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"x" * 10)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """(address, folder) of a publisher on loopback."""
    folder = tmp_path_factory.mktemp("published")
    checkpoint(folder / "good.pth")
    (folder / "odd.pth").write_bytes(b"no checkpoint")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Publisher, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()


def listed(published: tuple[str, Path], file: str, sha256: str | None) -> Entry:
    return replace(entries()[SMALLEST], url=f"{published[0]}/{file}", sha256=sha256, sha256_prefix=None)


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_published_file_arrives_whole_under_its_name_with_its_digest(published: tuple[str, Path], tmp_path: Path) -> None:
    expected = sha(published[1] / "good.pth")
    assert fetch(listed(published, "good.pth", expected), tmp_path) == expected
    assert sha(tmp_path / entries()[SMALLEST].file) == expected
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("file", "digest", "error", "said"),
    [
        ("good.pth", "0" * 64, WeightsRefused, "damaged or another file"),
        ("odd.pth", None, WeightsRefused, "no checkpoint"),
        ("cut.pth", None, DownloadFailed, "10 of 1000 bytes|connection broke"),
        ("missing.pth", None, DownloadFailed, "the server answers 404"),
    ],
)
def test_anything_else_is_refused_and_leaves_nothing(
    file: str, digest: str | None, error: type[Exception], said: str, published: tuple[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        fetch(listed(published, file, digest), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_a_network_the_message_says_what_to_do_and_plain_http_is_not_trusted(tmp_path: Path) -> None:
    entry = replace(entries()[SMALLEST], url="http://127.0.0.1:9/file.pth")
    with pytest.raises(DownloadFailed, match=f"copy the file here; then `mdmt weights import {SMALLEST}"):
        fetch(entry, tmp_path, timeout=2)
    with pytest.raises(DownloadFailed, match="only https is trusted"):
        fetch(replace(entry, url="http://example.org/file.pth"), tmp_path)


def test_an_imported_file_is_what_the_backbone_then_starts_from(tmp_path: Path) -> None:
    file = checkpoint(tmp_path / "mine.pth")
    target = take(SMALLEST, file, tmp_path / "weights")
    assert target == find(SMALLEST, tmp_path / "weights")
    assert digest(SMALLEST, tmp_path / "weights") == sha(file)
    backbone = build(SMALLEST, "imagenet", tmp_path / "weights")
    given = torch.load(file, weights_only=True)
    assert all(torch.equal(value, given[name]) for name, value in backbone.module.state_dict().items())
    assert "mine" not in backbone.origin and sha(file)[:8] in backbone.origin


def test_a_file_of_another_backbone_or_with_code_in_it_is_refused_and_what_was_there_stays(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    before = take(SMALLEST, checkpoint(tmp_path / "good.pth"), folder)
    save_file({"fc.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    torch.save({"code": Path}, tmp_path / "code.pth")
    for file, said in (("other.safetensors", "do not fit"), ("code.pth", "more than tensors")):
        with pytest.raises(WeightsRefused, match=said):
            take(SMALLEST, tmp_path / file, folder)
    assert find(SMALLEST, folder) == before
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_the_verbs_list_verify_and_refuse_wrong_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDMT_WEIGHTS", str(tmp_path))
    take(SMALLEST, checkpoint(tmp_path / "mine.pth"), tmp_path)
    runner = CliRunner()
    table = runner.invoke(weights_app, ["list"]).output
    assert "absent" in table and "packaged" in table and "own: " in table
    assert sha(tmp_path / "mine.pth") in runner.invoke(weights_app, ["verify"]).output
    assert runner.invoke(weights_app, ["fetch"]).exit_code == 2
    assert runner.invoke(weights_app, ["fetch", SMALLEST, "--all"]).exit_code == 2
    kept = runner.invoke(weights_app, ["fetch", SMALLEST])
    assert (kept.exit_code, "left as it is" in kept.output) == (0, True)


def test_the_check_is_a_program_of_its_own_whose_reason_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.pth").write_bytes(b"no checkpoint")
    with pytest.raises(WeightsRefused, match=r"^other\.pth (holds more|cannot be read)"):
        checking.refuse_unfit(SMALLEST, Path("other.pth"))
    checking.refuse_unfit(SMALLEST, checkpoint(Path("good.pth")))


def test_certificates_are_checked() -> None:
    context = downloading._certificates(entries()[SMALLEST])
    assert context is not None and context.check_hostname and context.verify_mode is ssl.CERT_REQUIRED


def test_a_publisher_who_falls_silent_is_given_up(published: tuple[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"timed out|connection broke after 0 bytes"):
        fetch(listed(published, "silent.pth", None), tmp_path, timeout=0.3)
    assert list(tmp_path.iterdir()) == []


def test_fetching_all_goes_on_after_a_failure_and_tells_of_it(
    published: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = sha(published[1] / "good.pth")
    absent = replace(entries()["resnet34"], url=f"{published[0]}/missing.pth")
    both = {"resnet34": absent, SMALLEST: listed(published, "good.pth", expected)}
    monkeypatch.setattr(imagenet, "entries", lambda: both)
    monkeypatch.setenv("MDMT_WEIGHTS", str(tmp_path))
    result = CliRunner().invoke(weights_app, ["fetch", "--all"])
    assert isinstance(result.exception, WeightsNotFound) and "1 file(s) were not fetched" in str(result.exception)
    assert f"SHA-256 {expected}" in result.output


def test_a_damaged_copy_of_the_published_file_is_known_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / entries()[SMALLEST].file
    file.write_bytes(b"damaged")
    with pytest.raises(WeightsRefused, match="damaged or another file"):
        take(SMALLEST, file, tmp_path / "weights")


def test_verify_names_every_file_that_is_not_what_it_should_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDMT_WEIGHTS", str(tmp_path))
    for name in ("resnet18", "resnet34"):
        (tmp_path / entries()[name].file).write_bytes(b"damaged")
    result = CliRunner().invoke(weights_app, ["verify"])
    assert isinstance(result.exception, WeightsRefused) and "2 file(s) are not what they should be" in str(result.exception)
    assert f"efficientnet_lite0: efficientnet-lite0-57934424.pth, SHA-256 {imagenet.PACKAGED_SHA256}" in result.output
