"""Who a client is, and how that is known: checklists, cases with their facts and people, who may sign, documents."""

from django.db import models
from django.db.models import F, Q

from lending import ids
from lending.engine import money
from lending.models.clients import Client
from lending.models.dated import DatedRule, begun_by_two, ended_by_two
from lending.models.fields import AmountField, PublicIdField, RatioField
from lending.models.users import User


class KycCase(models.Model):
    """One look at who a client is, made by one person and approved by another; the newest approved one is in force."""

    class State(models.TextChoices):
        OPEN = "open"
        APPROVED = "approved"
        SUPERSEDED = "superseded"

    class Rating(models.TextChoices):
        LOW = "low"
        MEDIUM = "medium"
        HIGH = "high"

    public_id = PublicIdField()
    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="kyc_cases")
    state = models.CharField(max_length=12, choices=State.choices, default=State.OPEN)
    opened_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    opened_at = models.DateTimeField()
    risk_rating = models.CharField(max_length=8, choices=Rating.choices, blank=True)
    rating_reason = models.CharField(max_length=400, blank=True)
    review_date = models.DateField(null=True, blank=True, help_text="day by which it is to be looked at again")
    rated_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True, editable=False)
    maker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True)
    checker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True)
    approved_at = models.DateTimeField(null=True)
    content = models.JSONField(default=dict, help_text="what was approved: documents by hash, facts, people, authority")

    class Meta:
        verbose_name = "KYC case"
        constraints = [
            models.UniqueConstraint(name="one_open_case", fields=["client"], condition=Q(state="open")),
            models.UniqueConstraint(name="one_approved_case", fields=["client"], condition=Q(state="approved")),
            models.CheckConstraint(name="case_maker_is_not_checker", condition=~Q(maker=F("checker"))),
            models.CheckConstraint(
                name="case_approved_whole",
                condition=Q(state="open")
                | (
                    Q(maker__isnull=False)
                    & Q(checker__isnull=False)
                    & Q(approved_at__isnull=False)
                    & Q(review_date__isnull=False)
                    & ~Q(risk_rating="")
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"case of {self.client}, {self.opened_at:%d %b %Y}"


class ChecklistItem(DatedRule):
    """What a case must hold of clients of a kind, in a jurisdiction and of a risk rating; empty means any."""

    class Kind(models.TextChoices):
        DOCUMENT = "document"
        FACT = "fact"

    class About(models.TextChoices):
        CLIENT = "client", "the client"
        OWNER = "owner", "each owner"
        DIRECTOR = "director", "each director"
        SIGNER = "signer", "each signer"

    client_kind = models.CharField(max_length=12, choices=Client.Kind.choices)
    jurisdiction = models.CharField(max_length=2, blank=True, help_text="ISO 3166 country code; empty: any")
    rating = models.CharField(max_length=8, choices=KycCase.Rating.choices, blank=True, help_text="empty: any")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    about = models.CharField(max_length=8, choices=About.choices, default=About.CLIENT)
    code = models.SlugField(max_length=40)
    label = models.CharField(max_length=120)
    help = models.CharField(max_length=240, blank=True)
    expires = models.BooleanField(default=False, help_text="a document that is good until a day")
    # What stood before two persons were asked has neither; the database takes no new line without.
    maker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True)  # type: ignore[assignment]
    checker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True)  # type: ignore[assignment]

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="checklist_item_once",
                fields=["client_kind", "jurisdiction", "rating", "about", "code", "start_date"],
            ),
            models.UniqueConstraint(
                name="checklist_item_without_end_once",
                fields=["client_kind", "jurisdiction", "rating", "about", "code"],
                condition=Q(end_date=None),
            ),
            begun_by_two("checklist_item_maker_is_not_checker"),
            ended_by_two("checklist_item_is_ended_by_two"),
        ]

    def __str__(self) -> str:
        return f"{self.whom}: {self.label}, of {self.get_about_display()}"

    @property
    def whom(self) -> str:
        """Return of which clients it is asked, in words."""
        rated = f" of {self.get_rating_display().lower()} risk" if self.rating else ""
        return f"{self.get_client_kind_display()} clients in {self.jurisdiction or 'any country'}{rated}"


class CaseFact(models.Model):
    """One answer that a checklist asks for, about the client or about one of its people."""

    case = models.ForeignKey(KycCase, on_delete=models.PROTECT, related_name="facts")
    client = models.ForeignKey(Client, on_delete=models.PROTECT)
    code = models.SlugField(max_length=40)
    person = models.UUIDField(null=True, blank=True)
    value = models.CharField(max_length=400)
    recorded_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    recorded_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(name="case_fact_once", fields=["case", "code", "person"], nulls_distinct=False)
        ]


class RelatedParty(models.Model):
    """A person behind an entity as a case knows them: an owner, a director, somebody who signs."""

    case = models.ForeignKey(KycCase, on_delete=models.PROTECT, related_name="parties")
    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="parties")
    person = models.UUIDField(default=ids.new, editable=False, help_text="the same in every case of the client")
    name = models.CharField(max_length=160)
    country = models.CharField(max_length=2, help_text="ISO 3166 code of the country they live in")
    birth_date = models.DateField(null=True, blank=True)
    email = models.EmailField(blank=True, help_text="by which somebody who signs is known in the portal")
    owner_share = RatioField(null=True, blank=True)
    is_director = models.BooleanField(default=False)
    is_signer = models.BooleanField(default=False)
    recorded_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True, editable=False)

    class Meta:
        verbose_name_plural = "related parties"
        constraints = [
            models.UniqueConstraint(name="party_once_in_a_case", fields=["case", "person"]),
            models.CheckConstraint(
                name="party_has_a_role",
                condition=Q(owner_share__isnull=False) | Q(is_director=True) | Q(is_signer=True),
            ),
            models.CheckConstraint(
                name="party_owns_a_share",
                condition=Q(owner_share__isnull=True) | (Q(owner_share__gt=0) & Q(owner_share__lte=1)),
            ),
            models.CheckConstraint(name="signer_has_an_email", condition=Q(is_signer=False) | ~Q(email="")),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def parts(self) -> str:
        """Return what they are to the client, in words."""
        share = "" if self.owner_share is None else f"owner of {money.text(self.owner_share * 100)}\u00a0%"
        said = (share, "director" if self.is_director else "", "signs" if self.is_signer else "")
        return ", ".join(part for part in said if part)


class SigningRule(models.Model):
    """One line of the authority matrix: who may sign what, up to how much, alone or two jointly."""

    class Action(models.TextChoices):
        ACCEPT = "accept", "Accept offers and amendments"
        RELEASE = "release", "Have collateral or money sent"
        ALLOW = "allow", "Name an address for withdrawals"
        REPAY = "repay", "Repay"
        DISPUTE = "dispute", "Dispute a margin call"

    case = models.ForeignKey(KycCase, on_delete=models.PROTECT, related_name="rules")
    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="signing_rules")
    person = models.UUIDField(null=True, blank=True, help_text="empty: everybody who signs")
    action = models.CharField(max_length=8, choices=Action.choices)
    asset = models.ForeignKey("lending.Asset", on_delete=models.PROTECT, null=True, blank=True, help_text="empty: any")
    up_to = AmountField(null=True, blank=True, help_text="empty: any amount")
    signatures = models.PositiveSmallIntegerField(choices=[(1, "alone"), (2, "two jointly")], default=1)
    recorded_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True, editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(name="signing_rule_alone_or_two", condition=Q(signatures__in=[1, 2])),
            models.CheckConstraint(
                name="signing_rule_limit_has_an_asset",
                condition=Q(up_to__isnull=True) | (Q(up_to__gt=0) & Q(asset__isnull=False)),
            ),
        ]


class StoredFile(models.Model):
    """The bytes of a file from outside, as they came; the database proves their hash and keeps them for good."""

    sha256 = models.BinaryField(max_length=32)
    content = models.BinaryField()
    content_type = models.CharField(max_length=40, help_text="read from the content, never from the name")
    size = models.PositiveIntegerField()


class Document(models.Model):
    """A paper of a client: what it is, about whom, until when it is good, and its file."""

    AGREEMENT = "agreement"  # the kind of the signed agreement; any other is the code of a line of a checklist

    public_id = PublicIdField()
    client = models.ForeignKey(Client, on_delete=models.PROTECT, related_name="documents")
    kind = models.SlugField(max_length=40)
    person = models.UUIDField(null=True, blank=True, help_text="of the client's people; empty: the client itself")
    file = models.ForeignKey(StoredFile, on_delete=models.PROTECT, related_name="documents")
    name = models.CharField(max_length=120, help_text="what the file was called")
    expires_date = models.DateField(null=True, blank=True, help_text="last day on which it is good")
    uploaded_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    uploaded_at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True)
    withdrawn_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True)

    def __str__(self) -> str:
        return self.name
