"""What the role `app` may do with tables that are not ours; those of lending, risk and otc say so in migrations."""

from django.apps import apps
from django.db import connection

_OURS = {"lending", "risk", "otc"}


def grant_framework_tables(role: str = "app") -> int:
    """Let the runtime role use the tables of Django itself, and return how many; none when there is no such role."""
    tables = {
        model._meta.db_table
        for config in apps.get_app_configs()
        if config.label not in _OURS
        for model in config.get_models(include_auto_created=True)
    }
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user <> %s AND EXISTS (SELECT FROM pg_roles WHERE rolname = %s)", [role, role])
        if not cursor.fetchone()[0]:
            return 0
        present = tables & set(connection.introspection.table_names(cursor))
        quote = connection.ops.quote_name
        for table in sorted(present):
            cursor.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {quote(table)} TO {quote(role)}")
        cursor.execute(f"GRANT SELECT ON django_migrations TO {quote(role)}")
    return len(present)
