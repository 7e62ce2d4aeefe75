"""Runs the migrations on the connection, and in the transaction, that robxfer_core.ledger.migrate hands over."""

from alembic import context

from robxfer_core.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
