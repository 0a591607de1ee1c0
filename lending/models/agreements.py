"""The master loan agreement: its versions, and which of them a client has signed."""

from django.db import models
from django.db.models import F, Q

from lending.models.clients import Client
from lending.models.kyc import Document, StoredFile
from lending.models.users import User


class AgreementVersion(models.Model):
    """One version of the master loan agreement, good for new loans from a day until another."""

    code = models.SlugField(max_length=20, unique=True)
    title = models.CharField(max_length=120)
    file = models.ForeignKey(StoredFile, on_delete=models.PROTECT, related_name="+")
    start_date = models.DateField()
    end_date = models.DateField(null=True, blank=True, help_text="first day on which no loan is offered under it")
    published_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    published_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="agreement_ends_after_it_starts",
                condition=Q(end_date__isnull=True) | Q(end_date__gt=F("start_date")),
            )
        ]

    def __str__(self) -> str:
        return f"{self.title}, version {self.code}"


class SignedAgreement(models.Model):
    """That a client has signed a version, and the paper that shows it; append-only."""

    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="agreements")
    version = models.ForeignKey(AgreementVersion, on_delete=models.PROTECT, related_name="signed")
    document = models.OneToOneField(Document, on_delete=models.PROTECT, related_name="agreement")
    signed_by = models.CharField(max_length=400, help_text="names of those who signed for the client")
    signed_date = models.DateField()
    recorded_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    recorded_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(name="version_signed_once", fields=["client", "version"])]
