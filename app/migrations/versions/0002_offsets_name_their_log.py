"""Stored offsets name the log that they are good for.

Revision 0002 after 0001. Runs on SQLite and on PostgreSQL. Offsets from before name none, so that each log is another
one to them and is read again from its beginning: effects are idempotent.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = ("offsets", "engines")


def upgrade() -> None:
    """Go forward."""
    for name in TABLES:
        with op.batch_alter_table(name, schema=None) as table:
            table.add_column(sa.Column("log", sa.Text(), server_default=sa.text("''"), nullable=False))


def downgrade() -> None:
    """Go back."""
    for name in TABLES:
        with op.batch_alter_table(name, schema=None) as table:
            table.drop_column("log")
