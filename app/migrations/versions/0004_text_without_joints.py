"""The text that searches look in has one space for any run of spaces, line ends and hyphens.

Revision 0004 after 0003. Runs on SQLite and on PostgreSQL. One pass over all mentions, in the database; rows that have
no such run are not written. New ones come so from `app.store.rows.sought`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

GAPS = "\t\n\r-\u2028\u2029"
ONE_SPACE = ((" ", "\x01\x02"), ("\x02\x01", ""), ("\x01\x02", " "))
"""Neither database has another way to squeeze a run that the other has too."""


def upgrade() -> None:
    """Go forward."""
    column: sa.ColumnClause[str] = sa.column("text_normal", sa.Text())
    steps = (*((gap, " ") for gap in GAPS), *ONE_SPACE)
    folded: sa.ColumnElement[str] = column
    for run, space in steps:
        folded = sa.func.replace(folded, run, space, type_=sa.Text())
    op.execute(sa.update(sa.table("mentions", column)).where(column != folded).values(text_normal=folded))


def downgrade() -> None:
    """Go back; the text stays as it is: the former version then finds no hyphen in it."""
