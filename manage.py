#!/usr/bin/env python
"""Run a management command, on the embedded servers when no database is named."""

import os
import sys

from deploy.embedded import attach


def main() -> None:
    """Set the environment for one command, then hand over to Django."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "deploy.settings")
    attach.for_command(sys.argv)
    from django.core.management import execute_from_command_line  # settings are read on import

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
