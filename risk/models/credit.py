"""Conditional credit: what a transfer counts for towards a call before it is final, by a policy of the desk."""

from django.db import models
from django.db.models import F, Q

from lending.models.fields import AmountField, RatioField

LEAST_WAIT_S, LONGEST_WAIT_S = 60, 6 * 3600


class CreditPolicy(models.Model):
    """From when to when transfers of an asset count conditionally, how much of them, and for how long at most."""

    asset = models.ForeignKey("lending.Asset", on_delete=models.PROTECT, related_name="+")
    share = RatioField(help_text="of a transfer that counts, in (0, 1]")
    min_confirmations = models.PositiveSmallIntegerField(help_text="from which on it counts: in a block at least")
    cap_usd = AmountField(help_text="most that counts of this asset for one call")
    wait_s = models.PositiveIntegerField(help_text="a transfer counts so long at most before it is final")
    reason = models.CharField(max_length=240)
    start_at = models.DateTimeField()
    maker = models.ForeignKey("lending.User", on_delete=models.PROTECT, related_name="+")
    checker = models.ForeignKey("lending.User", on_delete=models.PROTECT, related_name="+")
    end_at = models.DateTimeField(null=True)
    end_maker = models.ForeignKey("lending.User", on_delete=models.PROTECT, related_name="+", null=True)
    end_checker = models.ForeignKey("lending.User", on_delete=models.PROTECT, related_name="+", null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="one_credit_policy_an_asset", fields=["asset"], condition=Q(end_at=None)),
            models.CheckConstraint(name="credit_policy_maker_is_not_checker", condition=~Q(maker=F("checker"))),
            models.CheckConstraint(
                name="credit_policy_in_its_bounds",
                condition=Q(share__gt=0, share__lte=1, min_confirmations__gte=1, cap_usd__gt=0)
                & Q(wait_s__gte=LEAST_WAIT_S, wait_s__lte=LONGEST_WAIT_S),
            ),
            models.CheckConstraint(
                name="credit_policy_is_ended_by_two",
                condition=Q(end_at=None, end_maker=None, end_checker=None)
                | (
                    Q(end_at__gte=F("start_at"), end_maker__isnull=False, end_checker__isnull=False)
                    & ~Q(end_maker=F("end_checker"))
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.asset.code} from {self.start_at:%d %b %Y %H:%M} UTC"


class ConditionalCredit(models.Model):
    """
    What one transfer counts for towards one call until it is final, for a bounded time, once.

    It is no balance: it can only hold a sale back. It ends when the transfer is final, falls away, or takes too long.
    """

    class End(models.TextChoices):
        FINAL = "final", "it is final and counts in full"
        DROPPED = "dropped", "its network has dropped it"
        REFUSED = "refused", "its sender was not accepted"
        LATE = "late", "it was not final in time"
        OVER = "over", "the call is over"

    client = models.ForeignKey("lending.Client", on_delete=models.PROTECT, related_name="+")
    call = models.ForeignKey("risk.MarginCall", on_delete=models.PROTECT, related_name="conditional_credits")
    deposit = models.ForeignKey("lending.Deposit", on_delete=models.PROTECT, related_name="+")
    policy = models.ForeignKey(CreditPolicy, on_delete=models.PROTECT, related_name="+")
    quantity = AmountField(help_text="of the transfer that counts, in its asset")
    begun_at = models.DateTimeField()
    until_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    ended_how = models.CharField(max_length=8, choices=End.choices, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="conditional_credit_once", fields=["call", "deposit"]),
            models.CheckConstraint(
                name="conditional_credit_bounded", condition=Q(quantity__gt=0, until_at__gt=F("begun_at"))
            ),
            models.CheckConstraint(
                name="conditional_credit_ends_for_a_reason",
                condition=Q(ended_at=None, ended_how="") | (Q(ended_at__isnull=False) & ~Q(ended_how="")),
            ),
        ]
        indexes = [models.Index(fields=["call"], condition=Q(ended_at=None), name="conditional_credit_open")]

    def __str__(self) -> str:
        return f"{self.quantity.normalize():f} of {self.deposit_id}"
