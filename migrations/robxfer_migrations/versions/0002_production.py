"""Tokens, the audit trail, uploads, pins; retries by outcome; how long attempts waited and published."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.String(length=40)
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
BUDGETS = {"retries_timed_out": "retries_failed", "retries_out_of_memory": "0", "retries_lost": "2"}


def upgrade() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("scope", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double()),
        sa.Column("revoked_at", sa.Double()),
        sa.Column("used_at", sa.Double()),
        sa.CheckConstraint("scope in ('read', 'submit', 'admin')", name="ck_tokens_scope"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_tokens_project_id"),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("sha256", name="uq_tokens_sha256"),
        sa.UniqueConstraint("project_id", "name", name="uq_tokens_project_id_name"),
    )
    op.create_table(
        "audit",
        sa.Column("id", SERIAL, sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("project_id", ID),
        sa.Column("token_id", ID),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text()),
        sa.Column("status", sa.Integer()),
        sa.Column("address", sa.Text()),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_audit_project_id"),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_project_id_id", "audit", ["project_id", "id"])
    op.create_table(
        "uploads",
        sa.Column("id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("created_by", sa.Text()),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_uploads_project_id"),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
        sa.UniqueConstraint("project_id", "sha256", name="uq_uploads_project_id_sha256"),
    )
    op.add_column("experiments", sa.Column("created_by", sa.Text()))
    op.add_column("artifacts", sa.Column("pinned_at", sa.Double()))
    op.add_column("attempts", sa.Column("waited_s", sa.Double()))
    op.add_column("attempts", sa.Column("publish_s", sa.Double()))
    op.create_index("ix_attempts_ended_at", "attempts", ["ended_at"])
    for table in ("jobs", "nodes"):
        op.execute(f"ALTER TABLE {table} RENAME COLUMN retries TO retries_failed")
        for name, value in BUDGETS.items():
            op.add_column(table, sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
            op.execute(f"UPDATE {table} SET {name} = {value}")
        op.add_column(table, sa.Column("backoff_s", sa.Double(), nullable=False, server_default="5"))
    op.add_column("jobs", sa.Column("spent", sa.JSON(), nullable=False, server_default="{}"))
    make = "json_build_object" if op.get_bind().dialect.name == "postgresql" else "json_object"
    op.execute(f"UPDATE jobs SET spent = {make}('failed', failures, 'lost', losses)")
    # A plain ALTER: rebuilding the table, as SQLite once needed, would break the foreign keys of its rows.
    for name in ("failures", "losses"):
        op.execute(f"ALTER TABLE jobs DROP COLUMN {name}")


def downgrade() -> None:
    extract = (
        "CAST(spent ->> '{}' AS integer)"
        if op.get_bind().dialect.name == "postgresql"
        else ("json_extract(spent, '$.{}')")
    )
    for name, outcome in (("failures", "failed"), ("losses", "lost")):
        op.add_column("jobs", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
        op.execute(f"UPDATE jobs SET {name} = COALESCE({extract.format(outcome)}, 0)")
    op.execute("ALTER TABLE jobs DROP COLUMN spent")
    for table in ("jobs", "nodes"):
        for name in (*BUDGETS, "backoff_s"):
            op.execute(f"ALTER TABLE {table} DROP COLUMN {name}")
        op.execute(f"ALTER TABLE {table} RENAME COLUMN retries_failed TO retries")
    op.drop_index("ix_attempts_ended_at", "attempts")
    for table, name in (
        ("attempts", "publish_s"),
        ("attempts", "waited_s"),
        ("artifacts", "pinned_at"),
        ("experiments", "created_by"),
    ):
        op.execute(f"ALTER TABLE {table} DROP COLUMN {name}")
    for table in ("uploads", "audit", "tokens"):
        op.drop_table(table)
