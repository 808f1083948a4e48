"""Mentions keep what the model doubts, and people's labels have a table.

Revision 0003 after 0002. Runs on SQLite and on PostgreSQL. Mentions from before count as certain: nothing told what
their models doubted. SQLite adds and drops these columns in place: no rebuild of the largest table.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_mentions_waiting_urgent": ["realm", "urgency_rank", "published_at", "id"],
    "ix_mentions_waiting_newest": ["realm", "published_at", "id"],
    "ix_mentions_waiting_lang": ["realm", "lang", "urgency_rank", "published_at", "id", "waiting"],
}
COLUMNS = ("uncertain", "waiting")


def upgrade() -> None:
    """Go forward."""
    for name in COLUMNS:
        op.add_column("mentions", sa.Column(name, sa.SmallInteger(), server_default=sa.text("0"), nullable=False))
    where = sa.text("waiting > 0")
    for name, columns in INDEXES.items():
        op.create_index(name, "mentions", columns, unique=False, sqlite_where=where, postgresql_where=where)
    op.create_table(
        "labels",
        sa.Column("mention_id", sa.BigInteger(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("model_revision", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["mention_id"], ["mentions.id"], name=op.f("fk_labels_mention_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("mention_id", "task", "person", name=op.f("pk_labels")),
    )
    op.create_index(op.f("ix_labels_at"), "labels", ["at"], unique=False)


def downgrade() -> None:
    """Go back; the labels are lost."""
    op.drop_table("labels")
    for name in INDEXES:
        op.drop_index(name, table_name="mentions")
    for name in reversed(COLUMNS):
        op.drop_column("mentions", name)
