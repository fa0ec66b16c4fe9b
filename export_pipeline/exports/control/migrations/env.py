"""What Alembic runs: the caller's connection, within the caller's transaction."""

from alembic import context

from export_pipeline.exports.control.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
