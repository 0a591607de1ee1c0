"""Amendments of running loans: proposed by the desk, checked by a second person, signed by the client; their rates."""

from django.db import models
from django.db.models import F, Q

from lending.models.benchmarks import Fixing
from lending.models.clients import Client
from lending.models.fields import PublicIdField, RatioField
from lending.models.loans import Loan
from lending.models.term_sheets import TermSheet
from lending.models.users import User


class Amendment(models.Model):
    """
    Other terms for a loan that runs: the version of its term sheet that would hold, and the consent of both sides.

    What would change is what the two sheets differ in; the database keeps both as they are.
    """

    named_by = ("client",)

    class State(models.TextChoices):
        PROPOSED = "proposed", "waits for a second person"
        APPROVED = "approved", "waits for the client"
        AGREED = "agreed", "agreed, not yet in force"
        IN_FORCE = "in_force", "in force"
        REJECTED = "rejected", "rejected by the desk"
        DECLINED = "declined", "declined by the client"
        WITHDRAWN = "withdrawn", "withdrawn"
        EXPIRED = "expired", "expired"

    public_id = PublicIdField()
    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="amendments")
    loan = models.ForeignKey(Loan, on_delete=models.PROTECT, related_name="amendments")
    sheet = models.OneToOneField(
        TermSheet, on_delete=models.PROTECT, related_name="amendment", help_text="what would hold"
    )
    instead_of = models.ForeignKey(
        TermSheet, on_delete=models.PROTECT, related_name="+", null=True, help_text="what held when it was proposed"
    )
    state = models.CharField(max_length=10, choices=State.choices, default=State.PROPOSED)
    from_at = models.DateTimeField(null=True, help_text="from when other rates count; empty: from the signature on")
    expires_at = models.DateTimeField(help_text="until when it can be signed")
    reason = models.CharField(max_length=400)
    maker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    proposed_at = models.DateTimeField()
    checker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True)
    checked_at = models.DateTimeField(null=True)
    signer = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True)
    agreed_at = models.DateTimeField(null=True)
    in_force_at = models.DateTimeField(null=True)
    ended_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True)
    ended_at = models.DateTimeField(null=True, help_text="when it ended without being agreed")
    end_reason = models.CharField(max_length=400, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(name="amendment_maker_is_not_checker", condition=~Q(maker=F("checker"))),
            models.CheckConstraint(
                name="amendment_approved_by_a_checker",
                condition=~Q(state__in=["approved", "agreed", "in_force", "rejected"])
                | Q(checker__isnull=False, checked_at__isnull=False),
            ),
            models.CheckConstraint(
                name="amendment_agreed_by_a_signer",
                condition=~Q(state__in=["agreed", "in_force"]) | Q(signer__isnull=False, agreed_at__isnull=False),
            ),
            models.CheckConstraint(
                name="amendment_signed_in_time",
                condition=Q(agreed_at__isnull=True) | Q(agreed_at__lt=F("expires_at")),
            ),
            models.CheckConstraint(
                name="amendment_never_counts_back",
                condition=Q(from_at__isnull=True) | Q(from_at__gte=F("expires_at")),
            ),
            models.UniqueConstraint(
                name="one_open_amendment",
                fields=["loan"],
                condition=Q(state__in=["proposed", "approved", "agreed"]),
            ),
        ]
        indexes = [
            models.Index(
                name="amendment_open", fields=["client"], condition=Q(state__in=["proposed", "approved", "agreed"])
            )
        ]

    def __str__(self) -> str:
        return f"version {self.sheet.version} for {self.loan}"


_State = Amendment.State
UNSIGNED_AMENDMENTS = (_State.PROPOSED, _State.APPROVED)
AGREED_AMENDMENTS = (_State.AGREED, _State.IN_FORCE)
# Equal to the guard in the database, which a test compares.
AMENDMENT_TRANSITIONS: tuple[tuple[str, str], ...] = (
    (_State.PROPOSED, _State.APPROVED),
    (_State.PROPOSED, _State.REJECTED),
    (_State.APPROVED, _State.AGREED),
    (_State.APPROVED, _State.DECLINED),
    *((state, _State.WITHDRAWN) for state in UNSIGNED_AMENDMENTS),
    *((state, _State.EXPIRED) for state in UNSIGNED_AMENDMENTS),
    (_State.AGREED, _State.IN_FORCE),
)


class RateStep(models.Model):
    """
    The rates of a loan from an instant on. A loan whose rates were never changed has none: its columns hold throughout.

    The first row of a loan says what held from its funding on; each later one names what it was agreed by, or the
    fixing that it was reset by. A reset whose fixing was corrected, or came late, has another row of the same instant:
    the last number counts.
    """

    client = models.ForeignKey(Client, on_delete=models.PROTECT)
    loan = models.ForeignKey(Loan, on_delete=models.PROTECT, related_name="rate_steps")
    at = models.DateTimeField()
    annual_rate = RatioField()
    default_rate = RatioField()
    amendment = models.OneToOneField(Amendment, on_delete=models.PROTECT, related_name="rate_step", null=True)
    fixing = models.ForeignKey(Fixing, on_delete=models.PROTECT, related_name="rate_steps", null=True)
    fixing_date = models.DateField(null=True, help_text="whose fixing a reset is by, or the last that is known before")
    number = models.PositiveSmallIntegerField(default=1, db_default=1)
    recorded_at = models.DateTimeField(null=True, help_text="when a reset was recorded")

    class Meta:
        constraints = [
            models.UniqueConstraint(name="rate_step_once", fields=["loan", "at", "number"]),
            models.CheckConstraint(
                name="rate_step_by_amendment_or_fixing",
                condition=Q(fixing__isnull=True, fixing_date__isnull=True, recorded_at__isnull=True, number=1)
                | Q(amendment__isnull=True, fixing_date__isnull=False, recorded_at__isnull=False, fixing__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.annual_rate:.2%} from {self.at:%d %b %Y %H:%M} UTC"
