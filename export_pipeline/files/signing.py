"""Signatures of manifests, so that whoever can write to the bucket cannot write a commit that never was.

Ed25519: who verifies needs the public key only, and a public key forges nothing. (With a shared secret, as in HMAC,
every reader that can check a manifest could also make one.) Signatures are deterministic, so that a manifest that is
written twice is the same to the byte. Keys are text that says what it is, so that the one is not taken for the other.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from export_pipeline.errors import SettingsError
from export_pipeline.settings import PREFIX, Settings

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNING_KEY = f"{PREFIX}SIGNING_KEY"
PUBLIC_KEYS = f"{PREFIX}SIGNING_PUBLIC_KEYS"
_PRIVATE = "ed25519-private:"
_PUBLIC = "ed25519:"
_PURPOSE = b"export-pipeline manifest\n"
"""Stands before what is signed: a signature made for something else with the same key is none of a manifest."""


@dataclass(frozen=True)
class KeyPair:
    """A new key pair as text; `private` is the setting SIGNING_KEY, `public` one of SIGNING_PUBLIC_KEYS."""

    private: str = field(repr=False)
    public: str
    key_id: str


def new_key_pair() -> KeyPair:
    """A new key pair."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    return KeyPair(_PRIVATE + _text(private.private_bytes_raw()), _PUBLIC + _text(public), key_id_of(public))


def key_id_of(public: bytes) -> str:
    """The name of a public key: the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[:16]


class Signer:
    """Signs with the setting SIGNING_KEY; shows nothing of it."""

    def __init__(self, private: "Ed25519PrivateKey") -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()
        self.key_id = key_id_of(self.public)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """The signer of the settings, None where they name no key; raises `SettingsError` for one that is no key."""
        if settings.signing_key is None:
            return None
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        raw = _bytes(settings.signing_key.get_secret_value().strip(), _PRIVATE)
        if raw is None:
            raise SettingsError(
                f"{SIGNING_KEY} is not a private key (`{_PRIVATE}` and 32 bytes in base64): "
                "make one with `export-pipeline manifests new-key`"
            )
        return cls(Ed25519PrivateKey.from_private_bytes(raw))

    def sign(self, content: bytes) -> str:
        """The signature of a manifest's canonical JSON without `sha256` and `signature`, in base64."""
        return base64.b64encode(self._private.sign(_PURPOSE + content)).decode()


class PublicKeys:
    """The keys whose signatures count: those of SIGNING_PUBLIC_KEYS, and the public half of SIGNING_KEY."""

    def __init__(self, keys: Iterable[bytes]) -> None:
        self._keys: Mapping[str, bytes] = {key_id_of(key): key for key in keys}

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The keys of the settings, perhaps none; raises `SettingsError` for one that is not a public key."""
        keys = []
        for number, text in enumerate(settings.signing_public_keys, start=1):
            raw = _bytes(text, _PUBLIC)
            if raw is None:
                raise SettingsError(
                    f"{PUBLIC_KEYS}: key {number} of {len(settings.signing_public_keys)} is not a public key "
                    f"(`{_PUBLIC}` and 32 bytes in base64), as `export-pipeline manifests new-key` prints it"
                )
            keys.append(raw)
        signer = Signer.from_settings(settings)
        return cls([*keys, *([] if signer is None else [signer.public])])

    def __bool__(self) -> bool:
        return bool(self._keys)

    def refusal(self, content: bytes, *, key_id: str, value: str) -> str | None:
        """Why a signature of this content does not count, None where it does."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        raw = self._keys.get(key_id)
        if raw is None:
            return f"it is signed with the key {key_id}, which is none of {PUBLIC_KEYS}"
        try:
            Ed25519PublicKey.from_public_bytes(raw).verify(base64.b64decode(value, validate=True), _PURPOSE + content)
        except (InvalidSignature, binascii.Error, ValueError):
            return f"its signature with the key {key_id} does not match"
        return None


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str, prefix: str) -> bytes | None:
    """The 32 bytes of a key's text, None where it is none of this kind."""
    if not text.startswith(prefix):
        return None
    try:
        raw = base64.b64decode(text.removeprefix(prefix) + "=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == 32 else None
