"""Sanctions lists: what was sent in, which versions came of it, and who stood on them from when to when."""

from django.db import models
from django.db.models import F, Q

from lending.models.fields import PublicIdField
from lending.models.users import User


class SanctionsList(models.Model):
    """A list that this desk screens its clients against."""

    class Publisher(models.TextChoices):
        OFAC = "ofac", "OFAC"
        EU = "eu", "EU"

    code = models.SlugField(unique=True)
    name = models.CharField(max_length=120)
    publisher = models.CharField(max_length=8, choices=Publisher.choices, help_text="in whose forms it comes")

    def __str__(self) -> str:
        return self.name


class SanctionsUpload(models.Model):
    """Files that somebody sent in as a new version of a list, and what came of it."""

    class State(models.TextChoices):
        WAITING = "waiting"
        TAKEN = "taken"
        REFUSED = "refused"

    public_id = PublicIdField()
    watchlist = models.ForeignKey(SanctionsList, on_delete=models.PROTECT, related_name="uploads")
    form = models.CharField(max_length=12)
    published_on = models.DateField(null=True, help_text="as said by whoever sent it in, where the files do not say it")
    confirmed = models.BooleanField(default=False, help_text="it may be older, or much shorter, than what it follows")
    sha256 = models.CharField(max_length=64)
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    uploaded_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    uploaded_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    refusal = models.CharField(max_length=400, blank=True)
    problems = models.JSONField(default=list, help_text="lines that could not be taken; some of very many")

    class Meta:
        indexes = [models.Index(fields=["uploaded_at"], condition=Q(state="waiting"), name="upload_waiting")]

    def __str__(self) -> str:
        return f"{self.watchlist}, sent in {self.uploaded_at:%d %b %Y %H:%M} UTC"


class SanctionsFile(models.Model):
    """One file of an upload, as it came, compressed."""

    upload = models.ForeignKey(SanctionsUpload, on_delete=models.PROTECT, related_name="files")
    name = models.CharField(max_length=120)
    size = models.PositiveBigIntegerField(help_text="bytes, before compression")
    content = models.BinaryField()

    def __str__(self) -> str:
        return self.name


class SanctionsVersion(models.Model):
    """One state of a list, as it stood from an import on until the next."""

    watchlist = models.ForeignKey(SanctionsList, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    upload = models.OneToOneField(SanctionsUpload, on_delete=models.PROTECT, related_name="version")
    published_on = models.DateField()
    sha256 = models.CharField(max_length=64)
    imported_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    imported_at = models.DateTimeField()
    entries = models.PositiveIntegerField()
    names = models.PositiveIntegerField()
    added = models.PositiveIntegerField()
    removed = models.PositiveIntegerField()
    changed = models.PositiveIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(name="sanctions_version_once", fields=["watchlist", "number"])]

    def __str__(self) -> str:
        return f"{self.watchlist}, version {self.number}"


class SanctionsEntry(models.Model):
    """One person, firm or ship on a list, in one wording; another wording is another row."""

    watchlist = models.ForeignKey(SanctionsList, on_delete=models.PROTECT, related_name="entries")
    ref = models.CharField(max_length=18, help_text="the publisher's own number")
    kind = models.CharField(max_length=12)
    name = models.CharField(max_length=700)
    births = models.JSONField(default=list, help_text="[as written, first day, last day]")
    countries = models.JSONField(default=list, help_text="ISO codes, or names as written")
    programs = models.JSONField(default=list)
    remarks = models.TextField(blank=True)
    digest = models.CharField(max_length=64, help_text="of all that it says")
    identity = models.CharField(max_length=64, help_text="of what says who is meant")
    opened_by = models.ForeignKey(SanctionsVersion, on_delete=models.PROTECT, related_name="opened")
    closed_by = models.ForeignKey(SanctionsVersion, on_delete=models.PROTECT, related_name="closed", null=True)

    class Meta:
        verbose_name_plural = "sanctions entries"
        constraints = [
            models.UniqueConstraint(
                name="sanctions_entry_once", fields=["watchlist", "ref"], condition=Q(closed_by__isnull=True)
            ),
            models.CheckConstraint(
                name="sanctions_entry_closed_later",
                condition=Q(closed_by__isnull=True) | Q(closed_by__gt=F("opened_by")),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class SanctionsName(models.Model):
    """A name under which an entry is known."""

    entry = models.ForeignKey(SanctionsEntry, on_delete=models.PROTECT, related_name="aliases")
    name = models.CharField(max_length=700)
    kind = models.CharField(max_length=8, help_text="primary, aka, fka or nka")
    weak = models.BooleanField(default=False, help_text="so common that its publisher warns of it")

    def __str__(self) -> str:
        return self.name
