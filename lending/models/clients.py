"""Clients and the people who act for them."""

from django.db import models

from lending.models.fields import PublicIdField
from lending.models.users import Role, User


class Client(models.Model):
    """A borrower of the desk: a person or an entity."""

    class Kind(models.TextChoices):
        INDIVIDUAL = "individual"
        ENTITY = "entity"

    class Stage(models.TextChoices):
        PROSPECT = "prospect"
        ONBOARDING = "onboarding"
        ACTIVE = "active"
        CLOSED = "closed"

    public_id = PublicIdField()
    name = models.CharField(max_length=160)
    kind = models.CharField(max_length=12, choices=Kind.choices)
    jurisdiction = models.CharField(max_length=2, help_text="ISO 3166 country code")
    time_zone = models.CharField(max_length=40, default="UTC", help_text="IANA name; notices show deadlines in it")
    stage = models.CharField(max_length=12, choices=Stage.choices, default=Stage.PROSPECT)
    relationship_manager = models.ForeignKey(User, on_delete=models.PROTECT, related_name="managed_clients")
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class ClientUser(models.Model):
    """A user who may see, or act for, one client."""

    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="client_users")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="client_users")
    role = models.CharField(
        max_length=24,
        choices=[(Role.BORROWER_ADMIN, Role.BORROWER_ADMIN.label), (Role.BORROWER_VIEWER, Role.BORROWER_VIEWER.label)],
    )
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(name="client_user_once", fields=["client", "user"])]


class RelationshipPeriod(models.Model):
    """Who managed a client when; the P&L resolves the relationship manager as of effective_at."""

    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="relationship_periods")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    start_at = models.DateTimeField()
    end_at = models.DateTimeField(null=True, blank=True)
