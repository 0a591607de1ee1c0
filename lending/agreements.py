"""The master loan agreement: published in versions, signed by clients, kept with the hash of what was signed."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import BinaryIO

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from lending import access, audit, documents, kyc
from lending.models import AgreementVersion, Client, RelatedParty, Role, SignedAgreement, User

KIND = "agreement"  # of the signed paper, among a client's documents
PUBLISHERS = frozenset({Role.COMPLIANCE})


class UnableToPublish(Exception):
    """A version can not be published or ended; the message says why."""


class UnableToRecord(Exception):
    """A signed agreement can not be recorded; the message says why."""


def current(*, on: date) -> QuerySet[AgreementVersion]:
    """Return the versions under which loans are offered on a day, the newest first."""
    rows = AgreementVersion.objects.filter(Q(end_date=None) | Q(end_date__gt=on), start_date__lte=on)
    return rows.select_related("file").defer("file__content").order_by("-start_date", "-pk")


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


@transaction.atomic
def end(version: AgreementVersion, *, on: date, by: User, now: datetime) -> None:
    """Have no loan offered under a version from a day on; clients under it are asked to sign a newer one."""
    access.require_role(by, *PUBLISHERS)
    if on <= now.date() or on <= version.start_date:
        raise UnableToPublish("a version ends after today, and after it began")
    if not AgreementVersion.objects.filter(pk=version.pk, end_date=None).update(end_date=on):
        raise UnableToPublish("its end is set already")
    audit.write("agreement_ended", actor=by, obj=version, after={"end_date": str(on)}, now=now)


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
    paper = documents.add(client, upload, kind=KIND, name=name, by=by, now=now)
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
