"""What holds from one day until another, because two persons said so: a change of the law is a row, not a release."""

from django.db import models
from django.db.models import F, Q

from lending.models.users import User


class DatedRule(models.Model):
    """A rule that two persons begin and two end; nothing else about it ever changes."""

    start_date = models.DateField()
    maker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    checker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    end_date = models.DateField(null=True, blank=True, help_text="first day on which it no longer holds")
    end_maker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True, blank=True)
    end_checker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True, blank=True)

    class Meta:
        abstract = True


def begun_by_two(name: str) -> models.CheckConstraint:
    """Return the constraint by which nobody begins a rule alone."""
    return models.CheckConstraint(name=name, condition=~Q(maker=F("checker")))


def ended_by_two(name: str) -> models.CheckConstraint:
    """Return the constraint by which a rule ends after it began, and nobody ends it alone."""
    return models.CheckConstraint(
        name=name,
        condition=Q(end_date=None, end_maker=None, end_checker=None)
        | (
            Q(end_date__gt=F("start_date"), end_maker__isnull=False, end_checker__isnull=False)
            & ~Q(end_maker=F("end_checker"))
        ),
    )
