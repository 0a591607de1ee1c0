"""Two pairs of eyes and a memory: approvals and the audit trail."""

from django.db import models
from django.db.models import F, Q

from lending.models.fields import PublicIdField
from lending.models.users import User


class Approval(models.Model):
    """A request that a second person decides; bound to the hash of the exact payload, and expiring."""

    class State(models.TextChoices):
        REQUESTED = "requested"
        APPROVED = "approved"
        REJECTED = "rejected"
        EXECUTED = "executed"
        EXPIRED = "expired"
        WITHDRAWN = "withdrawn"

    public_id = PublicIdField()
    kind = models.CharField(max_length=40)
    client = models.ForeignKey("lending.Client", on_delete=models.PROTECT, null=True)
    payload = models.JSONField()
    payload_hash = models.BinaryField(max_length=32)
    state = models.CharField(max_length=12, choices=State.choices, default=State.REQUESTED)
    maker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    checker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True)
    reason = models.CharField(max_length=400, blank=True)
    requested_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)
    executed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(name="approval_maker_is_not_checker", condition=~Q(maker=F("checker"))),
            models.CheckConstraint(
                name="approval_decided_by_a_checker",
                condition=Q(state__in=["requested", "expired", "withdrawn"]) | Q(checker__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {str(self.public_id)[:8]}"


class AuditRecord(models.Model):
    """Who did what, when, from where, with what effect; append-only."""

    action = models.CharField(max_length=60)
    actor = models.ForeignKey(User, on_delete=models.PROTECT, null=True)
    object_kind = models.CharField(max_length=40)
    object_id = models.CharField(max_length=60)
    client = models.ForeignKey("lending.Client", on_delete=models.PROTECT, null=True)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    reason = models.CharField(max_length=400, blank=True)
    request_id = models.CharField(max_length=60, blank=True)
    address = models.GenericIPAddressField(null=True)
    happened_at = models.DateTimeField()
    txid = models.BigIntegerField(default=0, editable=False, help_text="transaction that wrote it; set by the database")

    class Meta:
        indexes = [models.Index(fields=["txid", "id"])]

    def __str__(self) -> str:
        return self.action.replace("_", " ")


class AuditSeal(models.Model):
    """A link of the hash chain over the audit trail, written by the one sealer in gapless order."""

    seq = models.BigIntegerField(primary_key=True)
    record = models.OneToOneField(AuditRecord, on_delete=models.PROTECT, related_name="seal")
    previous_hash = models.BinaryField(max_length=32)
    hash = models.BinaryField(max_length=32)
    sealed_at = models.DateTimeField()
