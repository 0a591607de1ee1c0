"""Clients and the people who act for them."""

from django.db import models

from lending.models.fields import AmountField, PublicIdField
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

    class Source(models.TextChoices):
        REFERRAL = "referral"
        INBOUND = "inbound", "Came by themselves"
        OUTBOUND = "outbound", "Approached by us"
        EVENT = "event", "Conference or event"
        EXISTING = "existing", "Existing relationship of the desk"

    class Geography(models.TextChoices):
        EUROPE = "europe", "Europe"
        UNITED_KINGDOM = "united_kingdom", "United Kingdom"
        NORTH_AMERICA = "north_america", "North America"
        LATIN_AMERICA = "latin_america", "Latin America"
        MIDDLE_EAST = "middle_east", "Middle East"
        AFRICA = "africa", "Africa"
        ASIA = "asia", "Asia"
        OCEANIA = "oceania", "Oceania"

    class Classification(models.TextChoices):
        RETAIL = "retail", "Retail"
        PROFESSIONAL = "professional", "Professional"
        ELIGIBLE_COUNTERPARTY = "eligible_counterparty", "Eligible counterparty"

    public_id = PublicIdField()
    name = models.CharField(max_length=160)
    kind = models.CharField(max_length=12, choices=Kind.choices)
    jurisdiction = models.CharField(max_length=2, help_text="ISO 3166 country code")
    time_zone = models.CharField(max_length=40, default="UTC", help_text="IANA name; notices show deadlines in it")
    stage = models.CharField(max_length=12, choices=Stage.choices, default=Stage.PROSPECT)
    stage_at = models.DateTimeField("at this stage since", null=True, blank=True)
    source = models.CharField(max_length=12, choices=Source.choices, blank=True)
    geography = models.CharField(
        max_length=16, choices=Geography.choices, blank=True, help_text="where its business is"
    )
    expected_size_usd = AmountField("expected to borrow", null=True, blank=True)
    classification = models.CharField(max_length=24, choices=Classification.choices, blank=True)
    relationship_manager = models.ForeignKey(User, on_delete=models.PROTECT, related_name="managed_clients")
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="client_expected_size_positive",
                condition=models.Q(expected_size_usd__isnull=True) | models.Q(expected_size_usd__gt=0),
            )
        ]

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

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="one_manager_at_a_time", fields=["client"], condition=models.Q(end_at__isnull=True)
            ),
            models.CheckConstraint(
                name="managed_from_then_to_then",
                condition=models.Q(end_at__isnull=True) | models.Q(end_at__gte=models.F("start_at")),
            ),
        ]
