"""Encrypts all stored credentials with the newest key, so that older ones can be given up."""

import sqlalchemy as sa

from export_pipeline.exports.access.audit import record
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import destinations
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.object_store.secrets import Vault
from export_pipeline.settings import Settings


def rotate_secrets(control: ControlDatabase, *, settings: Settings, actor: str) -> int:
    """Encrypts the credentials of every destination of every workspace anew; the number of them.

    All or nothing. The credentials stay the same, so nobody who uses them notices. Raises `SettingsError` without a
    key, and `SecretsError` that names the destination whose credentials do not open.
    """
    vault = Vault.from_settings(settings)

    def work(transaction: Transaction) -> int:
        now = transaction.now()
        columns = (destinations.c.id, destinations.c.tenant_id, destinations.c.credentials)
        query = sa.select(*columns).where(destinations.c.credentials.is_not(None)).with_for_update()
        rows = transaction.execute(query.order_by(destinations.c.id)).all()
        for row_id, tenant_id, sealed in rows:
            row, tenant = row_id, tenant_id
            new = vault.reseal(sealed, row_id=row, tenant_id=tenant)
            transaction.execute(sa.update(destinations).where(destinations.c.id == row_id).values(credentials=new))
            record(transaction, at=now, tenant_id=tenant, actor=actor, action="secrets.rotate", subject=row, detail={})
        return len(rows)

    return control.run(work)
