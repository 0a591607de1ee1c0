"""The people behind a client, and who of them may sign: lines of an open case, approved with it."""

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from django.db import transaction

from lending import audit, kyc
from lending.engine import money, names
from lending.models import Asset, CaseFact, KycCase, RelatedParty, SigningRule, User


@transaction.atomic
def add_party(
    case: KycCase,
    *,
    name: str,
    country: str,
    by: User,
    now: datetime,
    birth_date: date | None = None,
    email: str = "",
    owner_share: Decimal | None = None,
    is_director: bool = False,
    is_signer: bool = False,
) -> RelatedParty:
    """
    Add a person behind a client.

    Raises
    ------
    UnableToKeep
        If the name can not be held against a list of names, they hold no role, a share is outside (0, 1], all shares
        come to more than one, a signer has no e-mail, or somebody of the case has it already.
    """
    kyc.opened(case, by)
    if wrong := names.problem(name):
        raise kyc.UnableToKeep(wrong)
    if owner_share is None and not is_director and not is_signer:
        raise kyc.UnableToKeep("say what they are: an owner, a director, somebody who signs")
    if owner_share is not None and not 0 < owner_share <= 1:
        raise kyc.UnableToKeep(f"a share of {(owner_share * 100).normalize():f} % is none")
    known = list(RelatedParty.objects.filter(case=case))
    shares = sum((party.owner_share or money.ZERO for party in known), owner_share or money.ZERO)
    if shares > 1:
        raise kyc.UnableToKeep(f"all shares together would be {(shares * 100).normalize():f} %")
    if is_signer and not email:
        raise kyc.UnableToKeep("somebody who signs is known by an e-mail address")
    if email and email.lower() in {party.email for party in known}:
        raise kyc.UnableToKeep(f"{email} is somebody of this case already")
    row = RelatedParty.objects.create(
        case=case, client=case.client, name=name, country=country, birth_date=birth_date, email=email.lower(),
        owner_share=owner_share, is_director=is_director, is_signer=is_signer, recorded_by=by,
    )  # fmt: skip
    audit.write("party_added", actor=by, obj=row, after={"name": name, "case": str(case.public_id)}, now=now)
    return row


@transaction.atomic
def remove_party(party: RelatedParty, *, by: User, now: datetime) -> None:
    """Take a person out of an open case, with what the matrix and the facts say of them."""
    kyc.opened(party.case, by)
    SigningRule.objects.filter(case=party.case, person=party.person).delete()
    CaseFact.objects.filter(case=party.case, person=party.person).delete()
    audit.write("party_removed", actor=by, obj=party, before={"name": party.name}, now=now)
    party.delete()


@transaction.atomic
def allow(
    case: KycCase,
    action: str,
    *,
    by: User,
    now: datetime,
    person: UUID | None = None,
    asset: Asset | None = None,
    up_to: Decimal | None = None,
    signatures: int = 1,
) -> SigningRule:
    """
    Add a line to the authority matrix.

    Raises
    ------
    UnableToKeep
        If the person does not sign, a limit has no asset or is not positive, two are asked for where one acts at once,
        or the same line stands already.
    """
    kyc.opened(case, by)
    if person is not None and not RelatedParty.objects.filter(case=case, person=person, is_signer=True).exists():
        raise kyc.UnableToKeep("that is nobody who signs")
    if up_to is not None and (asset is None or not money.is_positive(up_to)):
        raise kyc.UnableToKeep("a limit is an amount above zero of an asset")
    if signatures == 2 and action in (SigningRule.Action.REPAY, SigningRule.Action.DISPUTE):
        raise kyc.UnableToKeep("what protects the client is done by one person at once: paying and disputing")
    same = SigningRule.objects.filter(
        case=case, person=person, action=action, asset=asset, up_to=up_to, signatures=signatures
    )
    if same.exists():
        raise kyc.UnableToKeep("that stands in the matrix already")
    row = SigningRule.objects.create(
        case=case, client=case.client, person=person, action=action, asset=asset, up_to=up_to, signatures=signatures,
        recorded_by=by,
    )  # fmt: skip
    audit.write("authority_added", actor=by, obj=row, after=kyc.rule_facts(row), now=now)
    return row


@transaction.atomic
def disallow(rule: SigningRule, *, by: User, now: datetime) -> None:
    """Take a line out of the matrix of an open case."""
    kyc.opened(rule.case, by)
    audit.write("authority_removed", actor=by, obj=rule, before=kyc.rule_facts(rule), now=now)
    rule.delete()
