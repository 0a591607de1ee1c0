from django import forms
from django.apps import AppConfig

# Django's own words for what it can not read do not say how it is written. Set before the first form is made.
for field, words in (
    (forms.DateField, "Enter a valid date, such as 2026-11-23."),
    (forms.DateTimeField, "Enter a valid date/time, such as 2026-11-23T09:30."),
    (forms.IntegerField, "Enter a whole number, such as 12."),
    (forms.DecimalField, "Enter a number, such as 1250.50, with a point before the decimals."),
):
    field.default_error_messages["invalid"] = words


class LendingConfig(AppConfig):
    name = "lending"
    default_auto_field = "django.db.models.BigAutoField"
