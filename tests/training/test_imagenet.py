"""The manifest of ImageNet weights, and that a file is used only when it is what it claims to be."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from training import imagenet
from training.imagenet import WeightsNotFound, WeightsRefused, digest, entries, find, install, is_here, origin, verify
from training.learning.backbones import NAMES
from training.protocol.recipes import EIGHTEEN

OTHER = "resnet18"


def placed(folder: Path, name: str, content: bytes = b"weights", file: str | None = None) -> Path:
    """A file that was imported."""
    part = folder / "part"
    part.write_bytes(content)
    target = folder / (file or f"{name}.pth")
    install(name, part, target)
    return target


def test_the_manifest_lists_every_backbone_with_address_licence_and_size() -> None:
    assert set(EIGHTEEN) <= set(entries()) == set(NAMES)
    for name, entry in entries().items():
        assert entry.url.startswith("https://") and entry.url.endswith(entry.file), name
        assert entry.licence and entry.source and entry.parameters > 1e6
        assert entry.sha256 is None or (len(entry.sha256) == 64 and entry.sha256.startswith(entry.sha256_prefix or ""))


def test_absent_weights_are_refused_with_the_commands_that_get_them(tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFound, match=r"mdmt weights fetch resnet18.*mdmt weights import resnet18 FILE"):
        find(OTHER, tmp_path)
    assert not is_here(OTHER, tmp_path)
    with pytest.raises(WeightsNotFound, match="no ImageNet weights are listed for 'resnet19'; listed: densenet121"):
        find("resnet19", tmp_path)


def test_lite0_comes_with_a_package_unless_a_file_was_brought(tmp_path: Path) -> None:
    assert digest("efficientnet_lite0", tmp_path) == imagenet.PACKAGED_SHA256
    assert "TensorFlow checkpoint" in origin("efficientnet_lite0", tmp_path)
    brought = placed(tmp_path, "efficientnet_lite0")
    assert find("efficientnet_lite0", tmp_path) == brought
    assert "imported file" in origin("efficientnet_lite0", tmp_path)


def test_a_digest_is_read_again_only_when_the_file_changed(tmp_path: Path) -> None:
    path = placed(tmp_path, OTHER)
    first, note = digest(OTHER, tmp_path), json.loads((tmp_path / f"{path.name}.json").read_text())
    (tmp_path / f"{path.name}.json").write_text(json.dumps({**note, "sha256": "from the note"}))
    assert digest(OTHER, tmp_path) == "from the note"
    os.utime(path, ns=(1, 1))
    assert digest(OTHER, tmp_path) == first


def test_a_file_that_changed_after_it_was_imported_is_refused(tmp_path: Path) -> None:
    path = placed(tmp_path, OTHER)
    path.write_bytes(b"weightz")
    os.utime(path, ns=(1, 1))
    for ask in (digest, verify):
        with pytest.raises(WeightsRefused, match=r"resnet18\.pth has SHA-256 .*damaged or another file"):
            ask(OTHER, tmp_path)


def test_a_published_name_with_other_content_and_two_files_for_one_backbone_are_refused(tmp_path: Path) -> None:
    (tmp_path / entries()[OTHER].file).write_bytes(b"not the published file")
    with pytest.raises(WeightsRefused, match="remove it and fetch or import it again"):
        digest(OTHER, tmp_path)
    (tmp_path / f"{OTHER}.safetensors").write_bytes(b"another")
    with pytest.raises(WeightsRefused, match="remove all but one"):
        find(OTHER, tmp_path)


def test_a_new_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    placed(tmp_path, OTHER)
    newer = placed(tmp_path, OTHER, b"newer", f"{OTHER}.safetensors")
    assert find(OTHER, tmp_path) == newer
    assert {path.name for path in tmp_path.iterdir()} == {newer.name, f"{newer.name}.json"}


def test_the_folder_is_in_the_state_or_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MDMT_WEIGHTS", raising=False)
    assert imagenet.folder(Path("home")) == Path("home/weights")
    monkeypatch.setenv("MDMT_WEIGHTS", "elsewhere")
    assert imagenet.folder(Path("home")) == Path("elsewhere")


def test_the_manifest_states_what_the_installed_packages_state() -> None:
    import timm
    from torchvision import models

    for name, entry in entries().items():
        if entry.source.startswith("timm"):
            cfg = timm.get_pretrained_cfg(name)
            assert (entry.url, entry.licence.lower(), entry.source) == (cfg.url, cfg.license, f"timm {name}.{cfg.tag}")
            assert entry.parameters == sum(p.numel() for p in timm.create_model(name).parameters())
        else:
            weights = models.get_model_weights(name).IMAGENET1K_V1
            assert entry.url == weights.url
            assert (entry.parameters, entry.mebibytes) == (weights.meta["num_params"], weights.meta["_file_size"])


def test_a_digest_is_listed_only_where_the_publishers_file_name_bears_it_out() -> None:
    for name, entry in entries().items():
        if entry.sha256_prefix is None:
            assert entry.sha256 is None, name
        else:
            assert len(entry.sha256_prefix) >= 8 and entry.file.endswith(f"-{entry.sha256_prefix}.pth"), name


def test_a_damaged_note_is_named_and_not_guessed_around(tmp_path: Path) -> None:
    path = placed(tmp_path, OTHER)
    (tmp_path / f"{path.name}.json").write_bytes(b"{")
    with pytest.raises(WeightsRefused, match=r"note resnet18\.pth\.json .* is damaged"):
        digest(OTHER, tmp_path)


def test_a_folder_that_only_others_may_write_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{OTHER}.pth").write_bytes(b"weights")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "not yours")

    monkeypatch.setattr(imagenet.durable, "write", refuse)
    assert digest(OTHER, tmp_path) == imagenet.sha256(tmp_path / f"{OTHER}.pth")


def test_neither_the_manifest_nor_the_verbs_load_torch() -> None:
    lines = "import sys; import services.commands.weights as w; w.imagenet.entries(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", lines], check=False).returncode == 0
