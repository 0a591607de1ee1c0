import gc
from typing import Any

from django.core.management.commands.migrate import Command as Migrate

from deploy.grants import grant_framework_tables


class Command(Migrate):
    """Migrate as owner, then let the runtime role use the framework's own tables."""

    def handle(self, *args: Any, **options: Any) -> None:
        gc.disable()  # every step draws up hundreds of models that stay: looking for rubbish takes a third of the time
        try:
            super().handle(*args, **options)
        finally:
            gc.enable()
        if not options.get("plan") and not options.get("check_unapplied"):
            grant_framework_tables()
