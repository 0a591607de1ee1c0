"""Rows that are changed together: one statement, however many they are."""

from collections.abc import Sequence

from django.db import connection
from django.db.models import Model


class UnableToUpdate(RuntimeError):
    """A row that should have been changed is not there."""


def update(rows: Sequence[Model], names: Sequence[str] = ()) -> None:
    """
    Write some columns of rows of one table, all but the key when none is named; the caller holds their locks.

    Django's bulk_update has PostgreSQL look through a list of cases for every row and column; this joins two lists.

    Raises
    ------
    UnableToUpdate
        If one of the rows is not there.
    """
    if not rows:
        return
    meta, quote = rows[0]._meta, connection.ops.quote_name
    key = next(field for field in meta.concrete_fields if field.primary_key)
    fields = [field for field in meta.concrete_fields if field is not key and (not names or field.name in names)]
    # Without its length: what does not fit is refused by the column, where a cast would cut it off.
    kinds = [(field.db_type(connection) or "").partition("(")[0] for field in (key, *fields)]
    columns = [quote(str(field.column)) for field in (key, *fields)]
    statement = (
        f"UPDATE {quote(meta.db_table)} t SET {', '.join(f'{name} = v.{name}' for name in columns[1:])}"  # noqa: S608
        f" FROM unnest({', '.join(f'%s::{kind}[]' for kind in kinds)}) AS v ({', '.join(columns)})"
        f" WHERE t.{columns[0]} = v.{columns[0]}"
    )
    values = [
        [field.get_db_prep_save(getattr(row, field.attname), connection) for row in rows] for field in (key, *fields)
    ]
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        if cursor.rowcount != len(rows):
            raise UnableToUpdate(f"{len(rows) - cursor.rowcount} of {len(rows)} rows of {meta.db_table} are not there")
