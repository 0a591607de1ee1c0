from django.apps import AppConfig


class OtcConfig(AppConfig):
    name = "otc"
    default_auto_field = "django.db.models.BigAutoField"
