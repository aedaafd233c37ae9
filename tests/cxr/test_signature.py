"""A signature names the key that made it, and holds for one manifest alone."""

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr.signature import SIGNATURE, BadKey, NotSigned, fingerprint, new_key, public_of, sign, signing_key, verify

PRIVATE, PUBLIC = new_key()
OTHER = new_key()[1]


def test_the_trusted_key_that_signed_is_named(tmp_path: Path) -> None:
    sign(tmp_path, b"manifest", PRIVATE)
    assert verify(tmp_path, b"manifest", (OTHER, PUBLIC)) == PUBLIC == public_of(PRIVATE)
    assert len(fingerprint(PUBLIC)) == 12


def test_another_manifest_another_key_and_no_signature_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotSigned, match="not signed"):
        verify(tmp_path, b"manifest", (PUBLIC,))
    sign(tmp_path, b"manifest", PRIVATE)
    for manifest, trusted in ((b"manifest2", (PUBLIC,)), (b"manifest", (OTHER,)), (b"manifest", ())):
        with pytest.raises(NotSigned, match="none of the"):
            verify(tmp_path, manifest, trusted)


@given(st.binary(max_size=200))
def test_any_other_content_is_no_signature(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("signed")
    (folder / SIGNATURE).write_bytes(content)
    with pytest.raises(NotSigned):
        verify(folder, b"manifest", (PUBLIC,))


@pytest.mark.parametrize("key", ["", "x", "é", base64.b64encode(bytes(31)).decode(), base64.b64encode(bytes(64)).decode()])
def test_keys_that_are_none_are_refused_without_being_shown(key: str, tmp_path: Path) -> None:
    for use in (public_of, fingerprint, lambda k: verify(tmp_path, b"m", (k,)), lambda k: sign(tmp_path, b"m", k)):
        with pytest.raises(BadKey, match="32, as `mdmt keys signing`") as refused:
            use(key)
        assert len(key) < 2 or key not in str(refused.value)


def test_the_signing_key_comes_from_the_environment_and_a_key_that_is_none_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MDMT_SIGNING_KEY", raising=False)
    assert signing_key() is None
    private, _ = new_key()
    (tmp_path / "key").write_text(f"{private}\n")
    monkeypatch.setenv("MDMT_SIGNING_KEY_FILE", str(tmp_path / "key"))
    assert signing_key() == private
    (tmp_path / "key").write_text("secret-but-no-key")
    with pytest.raises(BadKey, match="allowed: the base64 of 32") as refused:
        signing_key()
    assert "secret" not in str(refused.value)
    for content in (b"", b"\xff"):
        (tmp_path / "key").write_bytes(content)
        with pytest.raises(BadKey, match="MDMT_SIGNING_KEY_FILE"):
            signing_key()  # whoever names a file wants signatures, and would not notice that there are none
    (tmp_path / "key").unlink()
    with pytest.raises(BadKey, match=r"cannot be read \(FileNotFoundError\)"):
        signing_key()
