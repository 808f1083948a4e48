"""The Alembic environment: runs on the connection that `app.migrations.migrate` opened.

Owns nothing else. Revisions name plain column types, so that history does not change when `app.tables` does.
"""

from __future__ import annotations

from typing import Literal

from alembic import context
from sqlalchemy import TypeDecorator

from app.tables import metadata


def _plain(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Render our column types as what they are in the database."""
    return f"sa.{item.impl!r}" if kind == "type" and isinstance(item, TypeDecorator) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    render_item=_plain,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
