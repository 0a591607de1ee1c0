"""Term sheets: what was offered, word for word, and who accepted exactly that."""

from typing import Any

from django.db import models

from lending.models.clients import Client
from lending.models.loans import Loan
from lending.models.users import User


class TermSheet(models.Model):
    """One version of what was offered; the database keeps its text as it is and proves its hash."""

    client = models.ForeignKey(Client, on_delete=models.PROTECT)
    loan = models.ForeignKey(Loan, on_delete=models.PROTECT, related_name="term_sheets")
    version = models.PositiveIntegerField()
    content = models.TextField(help_text="canonical text, see lending.engine.terms")
    content_hash = models.BinaryField(max_length=32, help_text="SHA-256 of the content")
    offered_at = models.DateTimeField()
    made_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(name="term_sheet_version_once", fields=["loan", "version"])]

    def __str__(self) -> str:
        return f"term sheet of loan {str(self.loan.public_id)[:8]}, version {self.version}"

    @property
    def fingerprint(self) -> str:
        """Return the hash as people compare it."""
        return bytes(self.content_hash).hex()

    @property
    def as_evidence(self) -> dict[str, Any]:
        """Return what a step of the loan names as its evidence."""
        return {"term_sheet": self.version, "sha256": self.fingerprint}

    @property
    def accepted(self) -> "TermSheetAcceptance | None":
        """Return its acceptance, if somebody has accepted it."""
        found: Any = getattr(self, "acceptance", None)
        return found


class TermSheetAcceptance(models.Model):
    """A signer of the client, bound to the hash of what they accepted."""

    client = models.ForeignKey(Client, on_delete=models.PROTECT)
    sheet = models.OneToOneField(TermSheet, on_delete=models.PROTECT, related_name="acceptance")
    content_hash = models.BinaryField(max_length=32)
    signer = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    accepted_at = models.DateTimeField()
