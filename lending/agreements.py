"""The master loan agreement: published in versions, signed by clients, kept with the hash of what was signed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, BinaryIO

from django.db import IntegrityError, transaction
from django.db.models import BigIntegerField, Count, Exists, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Cast, Coalesce

from lending import access, audit, documents, kyc, reasons
from lending.engine import periods
from lending.models import (
    AgreementVersion,
    Client,
    Document,
    Loan,
    LoanState,
    RelatedParty,
    Role,
    SignedAgreement,
    Tenor,
    User,
)

PUBLISHERS = frozenset({Role.COMPLIANCE})


_NAMED = 25
_NOT_PAID_OUT = (LoanState.QUOTED, LoanState.ACCEPTED, LoanState.APPROVED, LoanState.COLLATERAL_PENDING)


@dataclass(frozen=True, slots=True)
class Ending:
    """
    What the end of a version does to clients.

    `clients` are the first of `count` that have signed no other version in force from that day on; of theirs `offers`
    are not paid out yet, and `lines` are drawn of. `other` is a version that they can sign then.
    """

    clients: tuple[Client, ...]
    count: int
    offers: int
    lines: int
    other: AgreementVersion | None


class UnableToPublish(Exception):
    """A version can not be published or ended; the message says why."""


class UnableToRecord(Exception):
    """A signed agreement can not be recorded; the message says why."""


def current(*, on: date) -> QuerySet[AgreementVersion]:
    """Return the versions under which loans are offered on a day, the newest first."""
    rows = AgreementVersion.objects.filter(Q(end_date=None) | Q(end_date__gt=on), start_date__lte=on)
    return rows.select_related("file").defer("file__content").order_by("-start_date", "-pk")


def with_signed() -> QuerySet[AgreementVersion]:
    """Return all versions, each with how many clients have `signed_by` it."""
    count = SignedAgreement.objects.filter(version=OuterRef("pk")).order_by().values("version").values(n=Count("pk"))
    rows = AgreementVersion.objects.select_related("file", "published_by").defer("file__content")
    return rows.annotate(signed_by=Coalesce(Subquery(count), 0))


def lapsing(clients: QuerySet[Client], *, until: date) -> QuerySet[Any]:
    """Return clients whose last signed version ends by a day, as `checklists.due` reads them."""
    mine = OuterRef("version__end_date")
    longer = Q(version__end_date=None) | Q(version__end_date__gt=mine)
    longer |= Q(version__end_date=mine, pk__gt=OuterRef("pk"))
    rows = SignedAgreement.objects.filter(
        ~Exists(SignedAgreement.objects.filter(longer, client=OuterRef("client"))),
        client__in=clients,
        version__end_date__lte=until,
    )
    return rows.values_list(
        "version__end_date", "client__name", "client__public_id", Value("agreement"), Value(""), "version__code",
        Cast(Value(None), BigIntegerField()),
    )  # fmt: skip


@transaction.atomic
def publish(code: str, title: str, upload: BinaryIO, *, start_date: date, by: User, now: datetime) -> AgreementVersion:
    """
    Publish a version, good from a day on.

    Raises
    ------
    UnableToPublish
        If it would begin in the past, or there is one of that code.
    lending.documents.UnableToStore
        If its file can not be taken in.
    lending.access.UnableToAccess
        If `by` is nobody of compliance.
    """
    access.require_role(by, *PUBLISHERS)
    if start_date < now.date():
        raise UnableToPublish("a version can not begin in the past")
    try:
        with transaction.atomic():
            row = AgreementVersion.objects.create(
                code=code, title=title, file=documents.store(upload), start_date=start_date,
                published_by=by, published_at=now,
            )  # fmt: skip
    except IntegrityError as refused:
        raise UnableToPublish(f"there is a version {code} already") from refused
    after = {"code": code, "sha256": bytes(row.file.sha256).hex(), "start_date": str(start_date)}
    audit.write("agreement_published", actor=by, obj=row, after=after, now=now)
    return row


def foreseen(version: AgreementVersion, *, on: date, now: datetime) -> Ending:
    """Return what comes of a version's end on a day, by what is signed now; UnableToPublish as `end` says."""
    _check_end(version, on, now)
    still = Q(end_date=None) | Q(end_date__gt=on)
    others = AgreementVersion.objects.filter(still, start_date__lte=on).exclude(pk=version.pk)
    signed = SignedAgreement.objects.filter(client=OuterRef("pk"))
    left = Client.objects.filter(Exists(signed.filter(version=version)), ~Exists(signed.filter(version__in=others)))
    left = left.exclude(stage=Client.Stage.CLOSED)
    drawn = Q(tenor=Tenor.REVOLVING, state=LoanState.ACTIVE)
    loans = Loan.objects.filter(client__in=left).aggregate(
        offers=Count("pk", filter=Q(state__in=_NOT_PAID_OUT)), lines=Count("pk", filter=drawn)
    )
    return Ending(
        clients=tuple(left.order_by("name", "pk")[:_NAMED]), count=left.count(), **loans,
        other=others.order_by("-start_date", "-pk").first(),
    )  # fmt: skip


@transaction.atomic
def end(version: AgreementVersion, *, on: date, reason: str, by: User, now: datetime) -> None:
    """
    Have no loan offered, accepted, paid out or drawn under a version from a day on; what runs goes on as agreed.

    Managers read among the next thirty days which of their clients are to sign another.

    Raises
    ------
    UnableToPublish
        If the day is not after today and after the version began, or too far off, its end is set already, or no
        reason is given, or too long a one.
    lending.access.UnableToAccess
        If `by` is nobody of compliance.
    """
    access.require_role(by, *PUBLISHERS)
    why = reasons.kept(reason, UnableToPublish, missing="say why it ends")
    _check_end(version, on, now)
    if not AgreementVersion.objects.filter(pk=version.pk, end_date=None).update(end_date=on):
        raise UnableToPublish("its end is set already")
    audit.write("agreement_ended", actor=by, obj=version, after={"end_date": str(on)}, reason=why, now=now)


def _check_end(version: AgreementVersion, on: date, now: datetime) -> None:
    if on <= now.date() or on <= version.start_date:
        raise UnableToPublish("a version ends after today, and after it began")
    if periods.is_far_off(on, now.date()):
        raise UnableToPublish(f"{on:%d %b %Y} is more than {periods.MOST_YEARS} years off")
    if version.end_date is not None:
        raise UnableToPublish(f"its end is set already, on {version.end_date:%d %b %Y}")


@transaction.atomic
def record(
    client: Client,
    version: AgreementVersion,
    upload: BinaryIO,
    *,
    name: str,
    signers: Sequence[RelatedParty],
    signed_date: date,
    by: User,
    now: datetime,
) -> SignedAgreement:
    """
    Write down that a client has signed a version, with the signed paper; the last step before its first offer.

    Raises
    ------
    UnableToRecord
        If no case is approved, the version is not in force, it was signed in the future or before it began, nobody of
        those who sign for an entity is named, or it is recorded already.
    lending.documents.UnableToStore
        If the paper can not be taken in.
    lending.access.UnableToAccess
        If `by` keeps no cases, or does not see the client.
    """
    access.require_role(by, *kyc.KEEPERS)
    access.require_client(by, client)
    case = kyc.in_force(client)
    if case is None:
        raise UnableToRecord("the case is to be approved first")
    if not current(on=now.date()).filter(pk=version.pk).exists():
        raise UnableToRecord(f"{version} is not in force")
    if not version.start_date <= signed_date <= now.date():
        raise UnableToRecord(f"it is signed between {version.start_date:%d %b %Y} and today")
    if client.kind == Client.Kind.ENTITY and not signers:
        raise UnableToRecord("say who signed for the client")
    if any(party.case_id != case.pk or not party.is_signer for party in signers):
        raise UnableToRecord("only who signs by the approved case signs the agreement")
    if SignedAgreement.objects.filter(client=client, version=version).exists():
        raise UnableToRecord(f"{client} has signed {version} already")
    paper = documents.add(client, upload, kind=Document.AGREEMENT, name=name, by=by, now=now)
    names = ", ".join(party.name for party in signers) or client.name
    row = SignedAgreement.objects.create(
        client=client, version=version, document=paper, signed_by=names[:400], signed_date=signed_date,
        recorded_by=by, recorded_at=now,
    )  # fmt: skip
    if client.stage == Client.Stage.ONBOARDING:
        client.stage, client.stage_at = Client.Stage.ACTIVE, now
        client.save(update_fields=["stage", "stage_at"])
    after = {"version": version.code, "sha256": bytes(paper.file.sha256).hex(), "signed_by": row.signed_by}
    audit.write("agreement_signed", actor=by, obj=row, after=after, now=now)
    return row
