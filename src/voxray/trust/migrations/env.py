"""What alembic runs: the steps, on the connection that `store` hands over."""

from __future__ import annotations

from alembic import context

from voxray.trust.tables import Table

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Table.metadata
)
with context.begin_transaction():
    context.run_migrations()
