"""Who may sign for a client: the authority matrix of its approved case, and signatures that wait for a second one."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils.module_loading import import_string

from lending import access, audit
from lending.engine import money
from lending.models import (
    Asset,
    Client,
    ClientUser,
    JointSignature,
    KycCase,
    Loan,
    RelatedParty,
    Role,
    SigningRule,
    User,
)

ALONE, JOINTLY = 1, 2
GOOD_FOR = timedelta(days=7)  # a first signature, until a second makes it whole


class UnableToSign(access.UnableToAccess):
    """The authority matrix does not let somebody sign this; the message says what it does let."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """What the approved case of one client says of who may sign: rules, people by e-mail, who may act in the portal."""

    client: Client
    rules: list[SigningRule] = field(default_factory=list)
    persons: dict[str, UUID] = field(default_factory=dict)
    acting: set[int] = field(default_factory=set)

    def signatures(self, user: User, action: str, asset: Asset | None, amount: Decimal | None) -> int:
        """
        Return how many signatures it takes when a user signs: one or two.

        Raises
        ------
        UnableToSign
            If the user does not act for the client, or no line of the matrix lets them sign this; a person who is a
            client themself signs without a matrix, by the e-mail address that their approved case names.
        """
        if user.pk not in self.acting or not user.is_active:
            raise UnableToSign(f"{user} may not sign for {self.client}")
        person = self.persons.get(user.email.lower())
        if self.client.kind == Client.Kind.INDIVIDUAL and not self.rules:
            if person is None:
                raise UnableToSign(f"the approved case of {self.client} does not name {user.email} as who signs")
            return ALONE
        about = [
            rule
            for rule in self.rules
            if rule.action == action and person is not None and rule.person in {None, person}
        ]
        fitting = [rule.signatures for rule in about if _reaches(rule, asset, amount)]
        if fitting:
            return min(fitting)
        label = SigningRule.Action(action).label.lower()
        if not about:
            raise UnableToSign(f"the authority matrix of {self.client} does not let {user} {label}")
        limits = ", ".join(sorted({_limit(rule) for rule in about}))
        raise UnableToSign(f"the authority matrix of {self.client} lets {user} {label} up to {limits}")


def _reaches(rule: SigningRule, asset: Asset | None, amount: Decimal | None) -> bool:
    if rule.asset_id is None:
        return True
    same = asset is not None and rule.asset_id == asset.pk
    return same and (rule.up_to is None or (amount is not None and amount <= rule.up_to))


def _limit(rule: SigningRule) -> str:
    code = rule.asset.code if rule.asset else ""
    return f"any amount of {code}" if rule.up_to is None else f"{money.text(rule.up_to)} {code}"


def matrices(clients: Collection[Client]) -> dict[int, Matrix]:
    """Return the matrix of each client, by its key, in three queries however many there are."""
    found = {client.pk: Matrix(client) for client in clients}
    case = {"case__state": KycCase.State.APPROVED, "client__in": list(found)}
    for rule in SigningRule.objects.filter(**case).select_related("asset").order_by("pk"):
        found[rule.client_id].rules.append(rule)
    for party in _named().filter(client__in=list(found)):
        found[party.client_id].persons[party.email.lower()] = party.person
    signers = ClientUser.objects.filter(client__in=list(found), role=Role.BORROWER_ADMIN)
    for client, user in signers.values_list("client", "user"):
        found[client].acting.add(user)
    return found


def signers() -> QuerySet[ClientUser]:
    """Return who signs in and is known as a signer by the approved case of their client."""
    known = _named().filter(client=OuterRef("client"), email__iexact=OuterRef("user__email"))
    return ClientUser.objects.filter(Exists(known), role=Role.BORROWER_ADMIN, user__is_active=True)


def _named() -> QuerySet[RelatedParty]:
    """Return whom the approved cases name as signers, each known by an e-mail address."""
    return RelatedParty.objects.filter(case__state=KycCase.State.APPROVED, is_signer=True).exclude(email="")


def require(
    user: User, client: Client, action: str, *, asset: Asset | None = None, amount: Decimal | None = None
) -> int:
    """
    Check that a user may sign something for a client, alone or with another, and return how many it takes.

    Raises
    ------
    UnableToSign
        If the matrix does not let them.
    """
    return matrices([client])[client.pk].signatures(user, action, asset, amount)


@transaction.atomic
def sign(
    client: Client,
    action: str,
    *,
    words: str,
    content: Mapping[str, Any],
    by: User,
    now: datetime,
    asset: Asset | None = None,
    amount: Decimal | None = None,
    loan: Loan | None = None,
    act: str = "",
    until: datetime | None = None,
) -> bool:
    """
    Put a user's signature under exactly this content (JSON values), and return whether it is signed whole now.

    One signature is enough of whoever signs alone; of those who sign jointly it takes two people under the same
    content, within a week or `until`. Signing twice is signing once. The caller acts in the same transaction.
    `act` names what the second signature does at once, where it is not the action itself.

    Raises
    ------
    UnableToSign
        If the matrix does not let them sign it.
    """
    matrix = matrices([client])[client.pk]
    needed = matrix.signatures(by, action, asset, amount)
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).digest()
    open_ones = JointSignature.objects.filter(
        client=client, act=act or action, content_hash=digest, second=None, withdrawn_at=None
    )
    row = open_ones.select_for_update(of=("self",)).select_related("first").first()
    if row is not None and (now >= row.expires_at or not _still_signs(matrix, row.first, action, asset, amount)):
        _withdraw(row, by=by, now=now)
        row = None
    if row is not None and row.first_id != by.pk:
        row.second, row.second_at = by, now
        row.save(update_fields=["second", "second_at"])
        audit.write("signed_jointly", actor=by, obj=row, after={"words": row.words}, now=now)
        return True
    if needed == ALONE:
        if row is not None:
            _withdraw(row, by=by, now=now)
        return True
    if row is None:
        row = JointSignature.objects.create(
            client=client, loan=loan, action=action, act=act or action, words=words[:240],
            content=dict(content), content_hash=digest,
            asset=asset, amount=amount, first=by, first_at=now, expires_at=min(until or now + GOOD_FOR, now + GOOD_FOR),
        )  # fmt: skip
        audit.write("signed_first", actor=by, obj=row, after={"words": words}, now=now)
    return False


def may(user: User, client: Client, action: str, *, asset: Asset | None = None, amount: Decimal | None = None) -> bool:
    """Return whether a user may sign something for a client, alone or with another."""
    return _still_signs(matrices([client])[client.pk], user, action, asset, amount)


def _still_signs(matrix: Matrix, user: User, action: str, asset: Asset | None, amount: Decimal | None) -> bool:
    try:
        return bool(matrix.signatures(user, action, asset, amount))
    except UnableToSign:
        return False


def waiting(clients: Collection[Client], *, now: datetime) -> QuerySet[JointSignature]:
    """Return what waits for a second signature of some clients, the oldest first."""
    rows = JointSignature.objects.filter(client__in=clients, second=None, withdrawn_at=None, expires_at__gt=now)
    return rows.select_related("client", "loan", "first", "asset").order_by("first_at", "pk")


@transaction.atomic
def complete(row: JointSignature, *, by: User, now: datetime) -> None:
    """
    Sign as the second person, which does at once what was signed.

    Raises
    ------
    UnableToSign
        If it is over by now, `by` signed it first, the matrix does not let them, or it can not be done by now.
    """
    found = waiting([row.client], now=now).select_for_update(of=("self",)).filter(pk=row.pk).first()
    if found is None:
        raise UnableToSign("it waits for no signature any more")
    if found.first_id == by.pk:
        raise UnableToSign(f"{by} has signed it already: a second person signs it too")
    import_string(settings.LENDING_SIGNED_ACTS[found.act])(found, by=by, now=now)


@transaction.atomic
def withdraw(row: JointSignature, *, by: User, now: datetime) -> None:
    """
    Take a first signature back, or refuse the second.

    Raises
    ------
    UnableToSign
        If it is over by now, or `by` may not sign for the client.
    """
    access.require_signer(by, row.client)
    found = waiting([row.client], now=now).select_for_update(of=("self",)).filter(pk=row.pk).first()
    if found is None:
        raise UnableToSign("it waits for no signature any more")
    _withdraw(found, by=by, now=now)


def void(loan: Loan, act: str, *, by: User | None, now: datetime) -> None:
    """Take back what waits for a second signature to do one thing to a locked loan: it came otherwise, or is over."""
    for row in JointSignature.objects.filter(loan=loan, act=act, second=None, withdrawn_at=None):
        _withdraw(row, by=by, now=now)


def _withdraw(row: JointSignature, *, by: User | None, now: datetime) -> None:
    row.withdrawn_by, row.withdrawn_at = by, now
    row.save(update_fields=["withdrawn_by", "withdrawn_at"])
    audit.write("signature_withdrawn", actor=by, obj=row, before={"words": row.words}, now=now)
