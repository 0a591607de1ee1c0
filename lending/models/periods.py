"""Months of the books: open, or locked by two persons, with every change of that kept."""

from django.db import models
from django.db.models import F, Q

from lending.models.users import User


class PeriodState(models.TextChoices):
    OPEN = "open"
    LOCKED = "locked"


class Period(models.Model):
    """A calendar month, UTC; while it is locked the database takes no entry that is dated before its end."""

    start_date = models.DateField(unique=True, verbose_name="month")
    end_at = models.DateTimeField(unique=True, help_text="its last instant is before this one")
    state = models.CharField(max_length=8, choices=PeriodState.choices, default=PeriodState.OPEN)
    maker = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    checker = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    reason = models.CharField(max_length=400, blank=True)
    checks = models.JSONField(default=list, help_text="what was looked at, and what was open then")
    changed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["start_date"]
        constraints = [
            models.CheckConstraint(name="period_is_a_month", condition=Q(start_date__day=1)),
            models.CheckConstraint(
                name="period_changed_by_two",
                condition=Q(state="open", maker__isnull=True, checker__isnull=True, changed_at__isnull=True)
                | Q(maker__isnull=False, checker__isnull=False, changed_at__isnull=False) & ~Q(maker=F("checker")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.start_date:%B %Y}"


class PeriodStep(models.Model):
    """One lock or reopening of a month, written by the database itself; append-only."""

    period = models.ForeignKey(Period, on_delete=models.PROTECT, related_name="steps")
    state = models.CharField(max_length=8, choices=PeriodState.choices)
    maker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    checker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    reason = models.CharField(max_length=400, blank=True)
    checks = models.JSONField(default=list)
    happened_at = models.DateTimeField()

    class Meta:
        ordering = ["pk"]
