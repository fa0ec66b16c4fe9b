"""Stored credentials: encrypted with Fernet keys of the setting SECRET_KEYS, the newest first.

The ciphertext holds the id and the workspace of the row that it belongs to; they are compared after decryption, so
that a ciphertext which was moved to another row opens nothing.
"""

import json
import uuid
from typing import TYPE_CHECKING, Self

from export_pipeline.errors import SecretsError, SettingsError
from export_pipeline.object_store.config import Credentials
from export_pipeline.settings import PREFIX, Settings

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

SECRET_KEYS = f"{PREFIX}SECRET_KEYS"


def new_key() -> str:
    """A new key for SECRET_KEYS."""
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()


class Vault:
    """Encrypts with the newest key and decrypts with any of them; shows neither keys nor credentials."""

    def __init__(self, fernet: "MultiFernet") -> None:
        self._fernet = fernet

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The vault of the settings' keys; raises `SettingsError` where there are none, or where one is no key."""
        from cryptography.fernet import Fernet, MultiFernet

        text = "" if settings.secret_keys is None else settings.secret_keys.get_secret_value()
        keys = [key.strip() for key in text.split(",") if key.strip()]
        if not keys:
            raise SettingsError(
                f"{SECRET_KEYS} is not set, so credentials can be neither stored nor read: "
                "make a key with `export-pipeline secrets new`, and keep it apart from the control database."
            )
        made = []
        for number, key in enumerate(keys, start=1):
            try:
                made.append(Fernet(key))
            except ValueError:
                raise SettingsError(
                    f"{SECRET_KEYS}: key {number} of {len(keys)} is no Fernet key (32 bytes in URL-safe base64): "
                    "make one with `export-pipeline secrets new`."
                ) from None
        return cls(MultiFernet(made))

    def seal(self, credentials: Credentials, *, row_id: uuid.UUID, tenant_id: uuid.UUID) -> str:
        """The credentials as they may be stored in the row `row_id` of the workspace `tenant_id`."""
        content = {
            "row_id": str(row_id),
            "tenant_id": str(tenant_id),
            "access_key_id": credentials.access_key_id,
            "secret_access_key": credentials.secret_access_key,
            "session_token": credentials.session_token,
        }
        return self._fernet.encrypt(json.dumps(content).encode()).decode()

    def open(self, token: str, *, row_id: uuid.UUID, tenant_id: uuid.UUID) -> Credentials:
        """What `seal` took; raises `SecretsError` where no key fits, or where it was sealed for another row."""
        from cryptography.fernet import InvalidToken

        try:
            content = json.loads(self._fernet.decrypt(token.encode()))
        except InvalidToken:
            raise SecretsError(
                f"The credentials of destination {row_id} do not open with {SECRET_KEYS}: add the key that they were "
                f"stored with, or store them anew with `export-pipeline destinations rotate {row_id}`."
            ) from None
        if (content["row_id"], content["tenant_id"]) != (str(row_id), str(tenant_id)):
            raise SecretsError(
                f"The credentials in the row of destination {row_id} were stored for another destination, so the "
                f"control database was changed by hand: store them anew with "
                f"`export-pipeline destinations rotate {row_id}`."
            )
        return Credentials(content["access_key_id"], content["secret_access_key"], content["session_token"])

    def reseal(self, token: str, *, row_id: uuid.UUID, tenant_id: uuid.UUID) -> str:
        """The same credentials, encrypted with the newest key; raises as `open` does."""
        return self.seal(self.open(token, row_id=row_id, tenant_id=tenant_id), row_id=row_id, tenant_id=tenant_id)
