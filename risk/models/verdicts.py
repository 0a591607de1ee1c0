"""What ends or changes a margin call by people's word: waivers and disputes."""

from django.db import models
from django.db.models import F, Q

from lending.models.fields import AmountField, PublicIdField, RatioField
from risk.models.margin import CallLevel, MarginCall


class Waiver(models.Model):
    """Two persons gave up a call; until it ends no other is issued, unless the account passes a higher level."""

    client = models.ForeignKey("lending.Client", on_delete=models.PROTECT)
    margin_account = models.ForeignKey("lending.MarginAccount", on_delete=models.PROTECT, related_name="waivers")
    call = models.ForeignKey(MarginCall, on_delete=models.PROTECT, related_name="waivers")
    level = models.CharField(max_length=12, choices=CallLevel.choices, help_text="a higher one ends it")
    reason = models.CharField(max_length=400)
    maker = models.ForeignKey("lending.User", on_delete=models.PROTECT, related_name="+")
    checker = models.ForeignKey("lending.User", on_delete=models.PROTECT, related_name="+")
    granted_at = models.DateTimeField()
    until = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(name="waiver_maker_is_not_checker", condition=~Q(maker=F("checker"))),
            models.CheckConstraint(name="waiver_ends", condition=Q(until__gt=F("granted_at"))),
        ]
        indexes = [models.Index(fields=["margin_account", "until"])]


class Dispute(models.Model):
    """A borrower's figure against ours, once per episode; what they do not dispute stays due."""

    class Part(models.TextChoices):
        PRICE = "price", "the price of an asset"
        QUANTITY = "quantity", "how much of an asset is pledged"
        DEBT = "debt", "what is owed"

    class Outcome(models.TextChoices):
        CALL_STANDS = "call_stands", "the call stands"
        AMENDED = "amended", "the call is amended"
        WITHDRAWN = "withdrawn", "the call is withdrawn"

    public_id = PublicIdField()
    client = models.ForeignKey("lending.Client", on_delete=models.PROTECT)
    call = models.OneToOneField(MarginCall, on_delete=models.PROTECT, related_name="dispute")
    part = models.CharField(max_length=10, choices=Part.choices)
    asset = models.ForeignKey("lending.Asset", on_delete=models.PROTECT, null=True, help_text="none for what is owed")
    ours = AmountField(help_text="USD, or units of the asset where the quantity is disputed")
    claimed = AmountField(help_text="the same, as the borrower has it")
    statement = models.CharField(max_length=1000)
    undisputed = RatioField(help_text="part of the demand that is due on the borrower's own figure too")
    opened_at = models.DateTimeField()
    opened_by = models.ForeignKey("lending.User", on_delete=models.PROTECT, related_name="+")
    answer_due_at = models.DateTimeField(help_text="until then the clock stands still for the disputed part")
    outcome = models.CharField(max_length=12, choices=Outcome.choices, blank=True)
    agreed = AmountField(null=True, help_text="the figure that an amended call rests on")
    answer = models.CharField(max_length=1000, blank=True)
    answered_at = models.DateTimeField(null=True)
    maker = models.ForeignKey("lending.User", on_delete=models.PROTECT, null=True, related_name="+")
    checker = models.ForeignKey("lending.User", on_delete=models.PROTECT, null=True, related_name="+")

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="dispute_answered_by_somebody",
                condition=Q(outcome="", answered_at__isnull=True, maker__isnull=True, checker__isnull=True)
                | (~Q(outcome="") & Q(answered_at__isnull=False, maker__isnull=False)),
            ),
            # What takes from the lender takes two persons; that a call stands is as it was.
            models.CheckConstraint(
                name="dispute_given_in_by_maker_and_checker",
                condition=Q(outcome__in=["", "call_stands"]) | (Q(checker__isnull=False) & ~Q(maker=F("checker"))),
            ),
            models.CheckConstraint(
                name="dispute_of_an_asset_or_of_debt",
                condition=Q(part="debt", asset__isnull=True) | (~Q(part="debt") & Q(asset__isnull=False)),
            ),
        ]
