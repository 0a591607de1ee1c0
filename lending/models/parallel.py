"""The days on which a system that loans were taken over from runs beside ours, and where the two differ."""

from django.db import models
from django.db.models import Q

from lending.models.clients import Client
from lending.models.fields import AmountField, PublicIdField, RatioField
from lending.models.loans import Loan
from lending.models.users import User


class ParallelRun(models.Model):
    """One comparison, of what stood at the end of a day: the file as it came, and how many loans agreed."""

    public_id = PublicIdField()
    source = models.CharField(max_length=40)
    day = models.DateField(help_text="both sides as of its end, 00:00 UTC of the next")
    content = models.TextField()
    content_hash = models.BinaryField(max_length=32, help_text="SHA-256 of the file")
    tolerance = AmountField(help_text="in each loan's asset: what differs by no more agrees")
    ltv_tolerance = RatioField()
    compared = models.PositiveIntegerField(help_text="loans on either side")
    agreeing = models.PositiveIntegerField()
    made_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    made_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["source", "day"])]
        constraints = [
            models.UniqueConstraint(name="parallel_file_once", fields=["source", "day", "content_hash"]),
            models.CheckConstraint(
                name="parallel_tolerance_not_negative", condition=Q(tolerance__gte=0) & Q(ltv_tolerance__gte=0)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.source}, {self.day:%d %b %Y}"


class ParallelDifference(models.Model):
    """One figure of one loan that differs on a day, or a loan that one side lacks."""

    class Column(models.TextChoices):
        LOAN = "loan", "the loan itself"
        PRINCIPAL = "principal"
        INTEREST = "interest"
        FEES = "fees"
        LTV = "ltv", "LTV"
        ANNUAL_RATE = "annual_rate", "rate a year"

    run = models.ForeignKey(ParallelRun, on_delete=models.PROTECT, related_name="differences")
    client = models.ForeignKey(Client, on_delete=models.PROTECT, null=True)
    loan = models.ForeignKey(Loan, on_delete=models.PROTECT, null=True)
    reference = models.CharField(max_length=60)
    column = models.CharField(max_length=12, choices=Column.choices)
    theirs = AmountField(null=True, help_text="empty: not known there")
    ours = AmountField(null=True, help_text="empty: not known here")
    first_day = models.DateField(help_text="since when it differs, day after day")

    class Meta:
        constraints = [models.UniqueConstraint(name="difference_once", fields=["run", "reference", "column"])]


class ParallelNote(models.Model):
    """What somebody found out about a difference, for as long as it lasts."""

    source = models.CharField(max_length=40)
    reference = models.CharField(max_length=60)
    column = models.CharField(max_length=12, choices=ParallelDifference.Column.choices)
    first_day = models.DateField()
    text = models.CharField(max_length=400)
    by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["source", "reference", "column", "first_day"])]
