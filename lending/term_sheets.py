"""
Term sheets: drawn once, printed for people and read back for the engine, so that what is signed is what runs.

A loan's columns and its ladder are never taken from anywhere else: `draw` writes the terms down and `Drawn` reads them
from what it wrote. A sheet is final from the moment it is offered; other terms are a new version. Of a loan that runs,
a new version holds once both sides have agreed on it, and not before.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import F, Func, JSONField, OuterRef, Q, QuerySet, Subquery, TextField, Value
from django.db.models.functions import JSONObject

from lending import authority, interest, obligations, schedules
from lending.engine import figures, money, terms
from lending.engine.origin import Origin
from lending.engine.terms import Term, Unit
from lending.models import (
    AGREED_AMENDMENTS,
    Amendment,
    Asset,
    Client,
    LadderTerms,
    Loan,
    LoanState,
    MarginAccount,
    PledgeTerms,
    Product,
    SigningRule,
    TermSheet,
    TermSheetAcceptance,
    User,
)

SECURES = {
    MarginAccount.Kind.RING_FENCED: "this loan alone",
    MarginAccount.Kind.POOL: "every loan of its margin account",
}
HAIRCUT = money.ZERO  # of collateral for which a sheet names none
# Of a loan that runs, a version that was proposed and not agreed on says nothing.
STANDING = Q(amendment=None) | Q(amendment__state__in=AGREED_AMENDMENTS)


class UnableToAgree(Exception):
    """A term sheet can not be accepted; the message says why."""


class Change(NamedTuple):
    """One term that a version for a running loan changes, as a person reads it."""

    label: str
    before: str
    after: str


@dataclass(frozen=True)
class Drawn:
    """The content of a term sheet, before or after it was offered; everything is read from its canonical text."""

    text: str

    @cached_property
    def content(self) -> dict[str, Any]:
        """Return the content as plain data."""
        found: dict[str, Any] = json.loads(self.text)
        return found

    @property
    def hash(self) -> bytes:
        """Return the SHA-256 of the text."""
        return terms.fingerprint(self.text)

    @property
    def loan(self) -> dict[str, Any]:
        """Return the columns of the loan, by name, but for its asset."""
        return {name: value for name, value in terms.read_part(self.content, "loan").items() if name != "asset"}

    @property
    def ladder(self) -> dict[str, Any]:
        """Return the columns of the ladder, by name."""
        return terms.read_part(self.content, "ladder")

    @property
    def origin(self) -> dict[str, str] | None:
        """Return where the loan comes from, as it stands in the sheet; None for one that began here."""
        found: dict[str, str] | None = self.content.get("origin")
        return found

    @property
    def collateral(self) -> dict[str, tuple[Decimal, Decimal]]:
        """Return the quantity that is expected of each asset, and its haircut, by code."""
        return {row["asset"]: (Decimal(row["quantity"]), Decimal(row["haircut"])) for row in self.content["collateral"]}

    @property
    def amends(self) -> dict[str, Any]:
        """Return what a version for a running loan says of the amendment itself; nothing of a first offer."""
        found: dict[str, Any] = self.content.get("amends", {})
        return found


_PRINT: dict[Unit, Callable[[Any, str], str]] = {
    Unit.AMOUNT: figures.amount,
    Unit.USD: lambda value, _asset: figures.amount(value, "USD"),
    Unit.RATIO: lambda value, _asset: figures.percent(value),
    Unit.SPAN: lambda value, _asset: figures.span(value),
    Unit.COUNT: lambda value, _asset: str(value),
    Unit.DATE: lambda value, _asset: figures.day(value),
    Unit.INSTANT: lambda value, _asset: figures.instant(value),
    Unit.WORDS: lambda value, _asset: str(value),
}


def printed(term: Term, drawn: Drawn) -> str:
    """Return how a person reads a term, exactly as it stands in the sheet."""
    return _said(term, terms.value_of(term, drawn.content), drawn)


def _said(term: Term, value: Any, drawn: Drawn) -> str:
    text = "" if value is None else _PRINT[term.unit](value, drawn.content["loan"]["asset"])
    return dict(term.names).get(text, text)


def changes(drawn: Drawn) -> list[Change]:
    """Return what a version for a running loan changes, term by term in the order of the print."""
    before = drawn.amends.get("before", {})
    return [
        Change(term.label, _said(term, terms.value_of(term, before), drawn), printed(term, drawn))
        for term in terms.TERMS
        if term.name in before.get(term.part, {})
    ]


def draw(
    *,
    public_id: UUID,
    client: Client,
    product: Product,
    loan_terms: Mapping[str, Any],
    ladder: LadderTerms,
    kind: str = MarginAccount.Kind.RING_FENCED,
    pledge_terms: PledgeTerms | None = None,
    collateral: Mapping[str, Decimal] | None = None,
    haircuts: Mapping[str, Decimal] | None = None,
    origin: Origin | None = None,
    amends: Mapping[str, Any] | None = None,
    carried: Mapping[str, Any] | None = None,
    schedule: schedules.Schedule | None = None,
    now: datetime,
) -> Drawn:
    """
    Return the term sheet of a loan in an asset of its product: what runs, and what that comes to if paid out now.

    Parameters
    ----------
    loan_terms : mapping
        The values of the `loan` part of `terms.TERMS` by name, but for the asset.
    pledge_terms : PledgeTerms, optional
        How the collateral is given; the product's unless a margin account has others.
    collateral : mapping of asset code to Decimal
        Units that are expected.
    haircuts : mapping of asset code to Decimal
        In [0, 1), of what may come as collateral. An asset with neither a quantity nor a haircut is left out.
    origin : Origin, optional
        Of a loan that is taken over: it runs from then on, and its principal is what is left.
    amends : mapping
        Of a version for a loan that runs: plain data that says which version it stands for, and from when.
    carried : mapping
        Plain data that stands in every version: where the loan comes from.
    schedule : Schedule, optional
        What is left to pay of a loan that runs; without it, what is to be paid if the loan is paid out now.

    Raises
    ------
    lending.engine.terms.UnableToWrite
        If a term is missing, unknown, or finer than the books keep it.
    lending.schedules.UnableToSchedule
        If the terms have no schedule from now on.
    """
    asset: Asset = product.asset
    part = terms.written("loan", {**loan_terms, "asset": asset.code})
    rules = {
        "interest_decimals": asset.decimals,
        "default_after_s": int(interest.DEFAULT_AFTER.total_seconds()),
        "prepayment_notice_s": int(obligations.NOTICE.total_seconds()),
        "margin_account": SECURES[MarginAccount.Kind(kind)],
        "reuse": "never",
    }
    given = pledge_terms or product.pledge_terms
    content = {
        "format": terms.FORMAT,
        "names": {
            "loan": str(public_id),
            "client": client.name,
            "client_id": str(client.public_id),
            "product": product.name,
        },
        "loan": part,
        "rules": terms.written("rules", rules),
        "pledge": terms.written("pledge", {term.name: getattr(given, term.name) for term in terms.of_part("pledge")}),
        "ladder": terms.written("ladder", {term.name: getattr(ladder, term.name) for term in terms.of_part("ladder")}),
        "collateral": _collateral(collateral or {}, haircuts or {}),
    }
    if origin is not None:
        content["origin"] = origin.written
    if amends is not None:
        content |= {"amends": dict(amends), **(carried or {})}
    drawn = Drawn(terms.canonical(content))
    loan, start_at = Loan(asset=asset, **drawn.loan), now
    if origin is None:
        found = schedule or schedules.of_loan(loan, now=now)
    else:
        loan.began_date, loan.interest_brought = origin.began_date, origin.interest
        start_at = origin.cut_over_at
        found = schedules.taken_over(loan, at=start_at, to_come=origin.to_come, next_due_date=origin.next_due_date)
    content["schedule"] = _schedule(found, start_at)
    return Drawn(terms.canonical(content))


def _collateral(expected: Mapping[str, Decimal], haircuts: Mapping[str, Decimal]) -> list[dict[str, str]]:
    rows = [(code, expected.get(code, money.ZERO), haircuts.get(code, HAIRCUT)) for code in {*expected, *haircuts}]
    return [
        {"asset": code, "quantity": money.text(quantity), "haircut": money.text(haircut)}
        for code, quantity, haircut in sorted(rows)
        if quantity or haircut
    ]


def _schedule(found: schedules.Schedule, start_at: datetime) -> dict[str, Any]:
    """Return a schedule as plain data: amounts in the loan's asset, from an assumed instant of paying out."""
    plain = asdict(found)
    rows = [_plain(row) for row in plain.pop("rows")]
    del plain["is_rest"]
    return {"start_at": terms.instant_text(start_at), **_plain(plain), "rows": rows}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: money.text(value) if isinstance(value, Decimal) else str(value) for name, value in row.items()}


def schedule_of(drawn: Drawn) -> schedules.Schedule:
    """Return the schedule that stands in a sheet."""
    found = drawn.content["schedule"]
    rows = tuple(
        schedules.Row(
            due_date=date.fromisoformat(row["due_date"]),
            pay_date=date.fromisoformat(row["pay_date"]),
            **{name: Decimal(row[name]) for name in ("principal", "interest", "balance")},
        )
        for row in found["rows"]
    )
    fee, paid_out, interest_in_all, total = (Decimal(found[name]) for name in ("fee", "paid_out", "interest", "total"))
    return schedules.Schedule(fee, paid_out, rows, interest_in_all, total, is_rest=bool(drawn.amends))


def new(loan: Loan, drawn: Drawn, *, version: int = 1, made_by: User, now: datetime) -> TermSheet:
    """Return a version of a loan's term sheet, not yet saved."""
    return TermSheet(
        client_id=loan.client_id,
        loan=loan,
        version=version,
        content=drawn.text,
        content_hash=drawn.hash,
        offered_at=now,
        made_by=made_by,
    )


def acceptance(sheet: TermSheet, *, signer: User, now: datetime) -> TermSheetAcceptance:
    """Return the acceptance of exactly this sheet, not yet saved."""
    return TermSheetAcceptance(
        client_id=sheet.client_id, sheet=sheet, content_hash=sheet.content_hash, signer=signer, accepted_at=now
    )


def of(sheet: TermSheet) -> Drawn:
    """Return what stands in an offered sheet."""
    return Drawn(sheet.content)


def versions(loan: Loan) -> QuerySet[TermSheet]:
    """Return the versions of a loan's term sheet with their acceptances, the newest first."""
    return TermSheet.objects.filter(loan=loan).select_related("acceptance__signer", "loan").order_by("-version")


def known_to_client(loan: Loan) -> QuerySet[TermSheet]:
    """Return the versions that a loan's client may read: what the desk has not approved never left it."""
    approved = Q(amendment__checked_at__isnull=False) & ~Q(amendment__state=Amendment.State.REJECTED)
    return versions(loan).filter(Q(amendment=None) | approved)


def beside(loans: QuerySet[Loan]) -> QuerySet[Loan]:
    """Return loans with what a page says of the sheet that holds as `sheet`, in the query that reads them anyway."""
    sha256 = Func(F("content_hash"), Value("hex"), function="encode", output_field=TextField())
    facts = JSONObject(version="version", sha256=sha256, offered_at="offered_at", accepted_at="acceptance__accepted_at")
    newest_of = TermSheet.objects.filter(STANDING, loan=OuterRef("pk")).order_by("-version").values(facts=facts)[:1]
    return loans.annotate(sheet=Subquery(newest_of, output_field=JSONField()))


def newest(loan: Loan) -> TermSheet | None:
    """Return the version of a loan's term sheet that is offered or holds; None for a loan that came without one."""
    return versions(loan).filter(STANDING).first()


def accept(loan: Loan, *, by: User, read: str | None, now: datetime) -> TermSheet | None:
    """
    Bind a signer of the client to the newest sheet of a locked loan, and return it; None until a second has signed.

    `read` is the hash of what the signer had in sight, where the door knows it.

    Raises
    ------
    UnableToAgree
        If the loan has no sheet, it was accepted before, or other terms stand than those that were read.
    lending.access.UnableToAccess
        If `by` may not sign for the client, or not this by its authority matrix.
    """
    sheet = newest(loan)
    if sheet is None:
        raise UnableToAgree(f"{loan} has no term sheet to accept")
    return sign(sheet, act="accept", until=loan.quoted_until, by=by, read=read, now=now)


def sign(sheet: TermSheet, *, act: str, until: datetime, by: User, read: str | None, now: datetime) -> TermSheet | None:
    """Bind a signer to exactly this sheet as `accept` says; `act` is what a second signature does, `until` its time."""
    loan = sheet.loan
    if sheet.accepted is not None:
        raise UnableToAgree(f"version {sheet.version} of the term sheet is accepted already")
    if read is not None and read != sheet.fingerprint:
        raise UnableToAgree("the terms are no longer those that you read: read them again, then accept")
    words = f"the term sheet of loan {loan}, version {sheet.version}"
    whole = authority.sign(
        loan.client, SigningRule.Action.ACCEPT, words=words, loan=loan, asset=loan.asset, amount=loan.principal,
        content={"loan": str(loan.public_id), "sheet": sheet.fingerprint}, act=act, until=until, by=by, now=now,
    )  # fmt: skip
    if not whole:
        return None
    acceptance(sheet, signer=by, now=now).save(force_insert=True)
    return sheet


def haircuts(margin_account_id: int) -> dict[str, Decimal]:
    """Return the haircut of each asset that a sheet of a margin account names, by code, as `haircuts_of` does."""
    return haircuts_of([margin_account_id]).get(margin_account_id, {})


def haircuts_of(margin_account_ids: Iterable[int]) -> dict[int, dict[str, Decimal]]:
    """
    Return the haircut of each asset that a sheet of some margin accounts names, by account and code, in one query.

    The newest sheet that names an asset says it. What is only offered counts while nothing was signed for the account,
    and what was declined never.
    """
    rows = TermSheet.objects.filter(STANDING, loan__margin_account__in=set(margin_account_ids))
    rows = rows.exclude(loan__state=LoanState.CANCELLED).annotate(account=F("loan__margin_account"))
    sheets: defaultdict[int, list[Any]] = defaultdict(list)
    for sheet in rows.select_related("loan").order_by("offered_at", "pk"):
        sheets[sheet.account].append(sheet)
    found = {}
    for account, every in sheets.items():
        signed = [sheet for sheet in every if sheet.loan.state != LoanState.QUOTED]
        found[account] = {code: off for sheet in signed or every for code, (_, off) in of(sheet).collateral.items()}
    return found
