"""Who sealed a bundle: an Ed25519 signature (RFC 8032) over the digest of its manifest, which holds the digest of every other file.

Who trains has the private key, who serves only the public one: a service that is broken into cannot sign. Keys are written as the
base64 of their 32 bytes.
"""

import base64
import binascii
import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE = "bundle.sig"
_CONTEXT = b"mdmt bundle 1\x00"  # a signature made for anything else is none
_KEY_BYTES = 32
_SIGNATURE_BYTES = 64


class BadKey(ValueError):
    """A key that is none; the text never holds the key."""


class NotSigned(ValueError):
    """No signature, or none by a key that is trusted."""


def new_key() -> tuple[str, str]:
    """A fresh (private, public) pair."""
    private = Ed25519PrivateKey.generate()
    return _text(private.private_bytes_raw()), _text(private.public_key().public_bytes_raw())


def signing_key() -> str | None:
    """The private key that bundles are signed with: in the file that MDMT_SIGNING_KEY_FILE names, or MDMT_SIGNING_KEY; None where neither
    is set. Raises BadKey for a key that is none, an empty one too, and for a file that cannot be read."""
    file, key = os.environ.get("MDMT_SIGNING_KEY_FILE"), os.environ.get("MDMT_SIGNING_KEY")
    if not file and not key:
        return None
    try:
        key = Path(file).read_text(encoding="utf-8").strip() if file else key
        public_of(key or "")  # before anything is computed, not after
    except (OSError, UnicodeDecodeError) as error:
        raise BadKey(f"the file of MDMT_SIGNING_KEY_FILE cannot be read ({type(error).__name__})") from error
    except BadKey as error:
        raise BadKey(f"MDMT_SIGNING_KEY{'_FILE' * bool(file)}: {error}") from None
    return key


def public_of(private: str) -> str:
    """The public key of a private one. Raises BadKey."""
    return _text(_private(private).public_key().public_bytes_raw())


def sign(folder: Path, manifest: bytes, private: str) -> None:
    """Write the signature of a sealed bundle beside its manifest. Raises BadKey."""
    signed = _private(private).sign(_message(manifest))
    (folder / SIGNATURE).write_text(_text(signed) + "\n")


def verify(folder: Path, manifest: bytes, trusted: tuple[str, ...]) -> str:
    """The trusted public key that signed the manifest. Raises NotSigned, or BadKey when a trusted key is none."""
    path = folder / SIGNATURE
    keys = {key: Ed25519PublicKey.from_public_bytes(_bytes(key)) for key in trusted}
    if not path.is_file():
        raise NotSigned("the version is not signed; this service takes versions that a trusted key signed")
    try:
        signature = base64.b64decode(path.read_bytes()[: 2 * _SIGNATURE_BYTES].strip(), validate=True)
    except binascii.Error:
        signature = b""
    for text, key in keys.items():
        try:
            key.verify(signature, _message(manifest))
        except InvalidSignature:
            continue
        return text
    raise NotSigned(f"none of the {len(keys)} trusted keys signed the version")


def fingerprint(public: str) -> str:
    """How a public key is called in logs and answers: 12 hexadecimal digits."""
    return hashlib.sha256(_bytes(public)).hexdigest()[:12]


def _message(manifest: bytes) -> bytes:
    return _CONTEXT + hashlib.sha256(manifest).digest()


def _private(text: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(_bytes(text))


def _bytes(text: str) -> bytes:
    try:
        content = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if len(content) != _KEY_BYTES:
        raise BadKey(f"a key of {len(content)} bytes; allowed: the base64 of {_KEY_BYTES}, as `mdmt keys signing` writes it")
    return content


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
