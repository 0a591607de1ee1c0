"""What two people of a client sign jointly: signed by the first, and open until a second signs exactly the same."""

from django.db import models
from django.db.models import F, Q

from lending.models.assets import Asset
from lending.models.clients import Client
from lending.models.fields import AmountField, PublicIdField
from lending.models.kyc import SigningRule
from lending.models.loans import Loan
from lending.models.users import User


class JointSignature(models.Model):
    """Something that one person has signed for a client and a second has to sign too; it changes once, at its end."""

    public_id = PublicIdField()
    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="joint_signatures")
    loan = models.ForeignKey(Loan, on_delete=models.PROTECT, null=True, related_name="+")
    action = models.CharField(max_length=8, choices=SigningRule.Action.choices)
    act = models.CharField(max_length=16, help_text="what is done once both have signed: a key of LENDING_SIGNED_ACTS")
    words = models.CharField(max_length=240, help_text="what is signed, as both read it")
    content = models.JSONField(help_text="what is signed, exactly")
    content_hash = models.BinaryField(max_length=32)
    asset = models.ForeignKey(Asset, on_delete=models.PROTECT, null=True, related_name="+")
    amount = AmountField(null=True)
    first = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    first_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    second = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    second_at = models.DateTimeField(null=True)
    withdrawn_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(name="two_different_people_sign", condition=~Q(first=F("second"))),
            models.CheckConstraint(
                name="a_joint_signature_ends_once",
                condition=Q(second__isnull=True, second_at__isnull=True) | Q(withdrawn_at__isnull=True),
            ),
            models.UniqueConstraint(
                name="one_signature_waits",
                fields=["client", "act", "content_hash"],
                condition=Q(second__isnull=True, withdrawn_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return self.words
