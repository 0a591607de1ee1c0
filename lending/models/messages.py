"""What leaves the house: outbox, notices with their delivery evidence, and numbered events."""

from django.db import models
from django.db.models import Q

from lending.models.fields import PublicIdField


class OutboxMessage(models.Model):
    """An effect on the outside world, written in the transaction that decided it."""

    class State(models.TextChoices):
        PENDING = "pending"
        DONE = "done"
        FAILED = "failed"

    key = models.CharField(max_length=200, unique=True)
    kind = models.CharField(max_length=40)
    payload = models.JSONField()
    state = models.CharField(max_length=8, choices=State.choices, default=State.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()
    next_attempt_at = models.DateTimeField()
    done_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=400, blank=True)

    class Meta:
        indexes = [models.Index(fields=["next_attempt_at"], condition=Q(state="pending"), name="outbox_pending")]


class Notice(models.Model):
    """Something a client was told, and the proof that it arrived."""

    public_id = PublicIdField()
    key = models.CharField(max_length=200, unique=True)
    client = models.ForeignKey("lending.Client", on_delete=models.PROTECT, related_name="notices")
    margin_account = models.ForeignKey("lending.MarginAccount", on_delete=models.PROTECT, null=True)
    kind = models.CharField(max_length=40)
    subject = models.CharField(max_length=200)
    body = models.TextField()
    created_at = models.DateTimeField()
    deemed_received_at = models.DateTimeField(null=True, help_text="when evidence on two channels was complete")

    def __str__(self) -> str:
        return self.subject


class NoticeDelivery(models.Model):
    """One channel of one notice with its evidence."""

    class Channel(models.TextChoices):
        EMAIL = "email"
        PORTAL = "portal"

    notice = models.ForeignKey(Notice, on_delete=models.PROTECT, related_name="deliveries")
    channel = models.CharField(max_length=8, choices=Channel.choices)
    address = models.CharField(max_length=200)
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField()
    delivered_at = models.DateTimeField(null=True)
    evidence = models.JSONField(default=dict)

    class Meta:
        constraints = [models.UniqueConstraint(name="delivery_once", fields=["notice", "channel", "address"])]
        indexes = [models.Index(fields=["next_attempt_at"], condition=Q(delivered_at=None), name="delivery_pending")]


class Event(models.Model):
    """Something that screens and clients follow; numbered without gaps by the one relay after commit."""

    stream = models.CharField(max_length=40)
    seq = models.BigIntegerField(null=True, help_text="position in the stream; null until the relay has numbered it")
    kind = models.CharField(max_length=40)
    client = models.ForeignKey("lending.Client", on_delete=models.PROTECT, null=True)
    payload = models.JSONField()
    happened_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(name="event_seq_once", fields=["stream", "seq"])]
        indexes = [models.Index(fields=["id"], condition=Q(seq=None), name="event_unnumbered")]


class EventStream(models.Model):
    """The last number given out in a stream; its row is locked by the relay."""

    name = models.CharField(max_length=40, primary_key=True)
    last_seq = models.BigIntegerField(default=0)
