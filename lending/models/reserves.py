"""What a client sets aside in advance, so that it cures a margin call of a loan as soon as that is made."""

from django.db import models
from django.db.models import Q

from lending.models.assets import Asset
from lending.models.clients import Client
from lending.models.fields import AmountField, PublicIdField
from lending.models.loans import Loan
from lending.models.margin_accounts import MarginAccount
from lending.models.users import User


class StandingInstruction(models.Model):
    """
    Up to how much of an asset is used when a loan is called; so much stands aside in the ledger, and for nothing else.

    One runs per margin account and asset. The database holds the quantity against the ledger when it commits.
    """

    public_id = PublicIdField()
    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="+")
    margin_account = models.ForeignKey(MarginAccount, on_delete=models.PROTECT, related_name="instructions")
    loan = models.ForeignKey(Loan, on_delete=models.PROTECT, related_name="+")
    asset = models.ForeignKey(Asset, on_delete=models.PROTECT, related_name="+")
    quantity = AmountField(help_text="set aside and not used yet")
    used = AmountField(default=0, help_text="by margin calls so far")
    steps = models.PositiveIntegerField(default=0, help_text="changes so far: they number its entries")
    given_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", help_text="who signed it last")
    given_at = models.DateTimeField(help_text="when it was signed last")
    ended_at = models.DateTimeField(null=True)
    ended_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    ended_why = models.CharField(max_length=120, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="one_instruction_an_asset", fields=["margin_account", "asset"], condition=Q(ended_at=None)
            ),
            models.CheckConstraint(name="instruction_not_negative", condition=Q(quantity__gte=0) & Q(used__gte=0)),
            models.CheckConstraint(
                name="instruction_that_ended_holds_nothing", condition=Q(ended_at=None) | Q(quantity=0)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.quantity.normalize():f} {self.asset.code}"
