"""Alembic's environment and the revisions of the database's schema; `robxfer_core.ledger.migrate` runs them."""
