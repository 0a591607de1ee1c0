from django.apps import AppConfig
from django.contrib.admin import apps as admin


class DeployConfig(AppConfig):
    name = "deploy"
    default = True
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Make the Celery application the current one, so that every shared task finds its broker."""
        from deploy import celery  # noqa: F401


class PlimsollAdminConfig(admin.AdminConfig):
    """Django's admin with our site in it: roles decide who sees what."""

    default = False
    default_site = "lending.staff.Site"
