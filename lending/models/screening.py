"""Screening: by which rule, who was screened when against what, and what was found."""

from django.db import models
from django.db.models import F, Q

from lending.models.clients import Client
from lending.models.fields import PublicIdField
from lending.models.sanctions import SanctionsEntry
from lending.models.users import User


class ScreeningRule(models.Model):
    """From which score a name is a match, and what agreeing and differing facts count; the newest row holds."""

    threshold = models.PositiveSmallIntegerField(help_text="a score from 0 to 100")
    birth_agrees = models.PositiveSmallIntegerField()
    birth_differs = models.PositiveSmallIntegerField()
    country_agrees = models.PositiveSmallIntegerField()
    country_differs = models.PositiveSmallIntegerField()
    weak_name = models.PositiveSmallIntegerField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="screening_rule_keeps_equal_names",
                condition=Q(
                    threshold__lte=100 - F("birth_differs") - F("country_differs") - F("weak_name"), threshold__gte=50
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"from {self.threshold} on"


class Screening(models.Model):
    """One look at a client and the people behind it; a later one ends it."""

    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="screenings")
    rule = models.ForeignKey(ScreeningRule, on_delete=models.PROTECT, related_name="+")
    against = models.CharField(
        max_length=64, help_text="digest of the list versions, the rule and the way of comparing"
    )
    versions = models.JSONField(help_text="the lists' versions that were looked at")
    facts = models.JSONField(help_text="who was looked for")
    facts_digest = models.CharField(max_length=64)
    screened_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="one_screening_counts", fields=["client"], condition=Q(ended_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"screened {self.screened_at:%d %b %Y %H:%M} UTC"


class ScreeningMatch(models.Model):
    """A client, or somebody behind it, who may be who an entry of a list means; open until a person decides."""

    class State(models.TextChoices):
        OPEN = "open", "Open"
        FALSE_POSITIVE = "false_positive", "Somebody else"
        TRUE_MATCH = "true_match", "True match"
        CLEARED = "cleared", "Cleared by two persons"
        LAPSED = "lapsed", "Taken off the list"

    public_id = PublicIdField()
    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="screening_matches")
    screening = models.ForeignKey(Screening, on_delete=models.PROTECT, related_name="matches")
    subject = models.CharField(max_length=80, help_text="who of the client")
    subject_name = models.CharField(max_length=160)
    subject_digest = models.CharField(max_length=64)
    entry = models.ForeignKey(SanctionsEntry, on_delete=models.PROTECT, related_name="matches")
    score = models.PositiveSmallIntegerField()
    why = models.JSONField()
    state = models.CharField(max_length=14, choices=State.choices, default=State.OPEN)
    found_at = models.DateTimeField()
    decided_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=400, blank=True)
    clear_maker = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    clear_checker = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    clear_reason = models.CharField(max_length=400, blank=True)
    ended_at = models.DateTimeField(null=True, help_text="when it was found anew with other facts, or lapsed")

    class Meta:
        verbose_name_plural = "screening matches"
        constraints = [
            models.CheckConstraint(
                name="match_decided_by_a_person",
                condition=Q(state__in=["open", "lapsed"])
                | (Q(decided_by__isnull=False) & Q(decided_at__isnull=False) & ~Q(reason="")),
            ),
            models.CheckConstraint(
                name="match_cleared_by_maker_and_checker",
                condition=~Q(state="cleared")
                | (Q(clear_maker__isnull=False) & Q(clear_checker__isnull=False) & ~Q(clear_maker=F("clear_checker"))),
            ),
        ]
        indexes = [models.Index(fields=["client"], condition=Q(ended_at__isnull=True), name="match_that_counts")]

    def __str__(self) -> str:
        return f"{self.subject_name} and {self.entry}"
