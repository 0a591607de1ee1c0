"""
Lines of bank statements as a person works them: open until an entry of the ledger, or a reason, accounts for each.

A line without an entry is money at the bank that the books do not know. Whoever it belongs to in the end, a receipt is
booked as one that nobody claims, and then given to a loan in the one way in which any such deposit is.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from django.db import transaction
from django.db.models import QuerySet, Sum

from lending import access, approvals, arrivals, audit, ids, ledger, margin_accounts, matching, reasons
from lending.engine import entries, money
from lending.engine.chart import AccountKind
from lending.models import Approval, BankLine, Deposit, DepositAddress, Entry, Loan, Posting, Role, User

KIND = "bank_line"
WORKERS = frozenset({Role.OPERATIONS})
OLD = timedelta(days=2)
_SHOWN = 50


class Verdict(StrEnum):
    """What a person may say about an open line, beside giving it to a loan."""

    TIE = "tied to an entry"
    CHARGE = "a charge of the bank"
    NOT_OURS = "not ours"


class UnableToAccount(Exception):
    """A line can not be accounted for in this way; the message says why."""


def candidates(line: BankLine) -> list[Entry]:
    """Return the entries that moved exactly a line's amount on its account and have no line yet, the nearest first."""
    rows = Posting.objects.filter(
        account__kind=AccountKind.CUSTODY,
        account__party=line.account.custodian,
        asset=line.asset_id,
        amount=line.amount,
        entry__bank_line=None,
    )
    found = Entry.objects.filter(pk__in=rows.values("entry")).order_by("-effective_at")[:_SHOWN]
    return sorted(found, key=lambda entry: abs(entry.effective_at - line.arrived_at))


def loans_for(line: BankLine) -> QuerySet[Loan]:
    """Return the loans that a receipt may be given to."""
    return matching.candidates(Deposit(asset=line.asset))


def needs_two(line: BankLine) -> bool:
    """Return whether what is decided about a line takes a second person."""
    return line.amount.copy_abs() > line.account.second_person_above


def receipt(line: BankLine) -> Deposit | None:
    """Return the deposit that was booked from a line."""
    return Deposit.objects.filter(custodian=line.account.custodian, position=-line.pk).select_related("asset").first()


def unclaimed(line: BankLine) -> bool:
    """Return whether a line brought a receipt that nobody could be found for yet."""
    found = receipt(line)
    return found is not None and found.state == Deposit.State.UNMATCHED


def waiting(line: BankLine, *, now: datetime) -> Approval | None:
    """Return the request about a line, or about the receipt it brought, that nobody has decided yet."""
    found = Approval.objects.filter(kind=KIND, state=Approval.State.REQUESTED, expires_at__gt=now)
    about = found.filter(payload__line=str(line.public_id)).select_related("maker").first()
    booked = receipt(line)
    return about or (matching.waiting(booked, now=now) if booked else None)


@transaction.atomic
def assign(line: BankLine, loan: Loan, *, reason: str, maker: User, now: datetime) -> Approval | None:
    """
    Book a receipt that nobody could be found for and give it to a loan; above the account's limit ask a second person.

    The money is at the bank, so it is in the books from now on, whoever it belongs to in the end. Returns the request,
    or None when one person could decide it.

    Raises
    ------
    UnableToAccount
        If it is no open receipt, lies ahead, is reported under its reference already, or no reason is given.
    lending.matching.UnableToMatch
        If the loan can not take it.
    lending.access.UnableToAccess
        If the maker is not of operations.
    """
    row, said = _to_work(line, reason, maker, now, booked=True)
    deposit = receipt(row)
    if deposit is None:
        if row.amount < 0:
            raise UnableToAccount("money went out: it can be given to no loan")
        if row.arrived_at > now:
            raise UnableToAccount(f"it is valued on {row.value_date}, which lies ahead")
        if row.account.reported_live and not row.ref:
            raise UnableToAccount(
                "the bank gave it no reference of its own: reported live it would count twice; tie it to that report"
            )
        if known := recorded(row):
            raise UnableToAccount(
                f"{known.custodian_ref} is recorded already, of {money.text(known.quantity)} {row.asset}"
            )
        deposit = book(row, None)
        arrivals.hold(deposit, now=now)
        match(row, entry_of(deposit), reason="booked from the statement", now=now)
    if needs_two(row):
        return matching.ask(deposit, loan, reason=said, maker=maker, now=now)
    matching.give(deposit, loan, matching.purpose_of(deposit, loan), reason=said, maker=maker, checker=None, now=now)
    return None


def tie(line: BankLine, entry: Entry, *, reason: str, maker: User, now: datetime) -> Approval | None:
    """
    Say that a line is an entry that is in the books already; above the account's limit ask a second person.

    Raises
    ------
    UnableToAccount
        If the line is not open, the entry did not move exactly its amount, or no reason is given.
    lending.access.UnableToAccess
        If the maker is not of operations.
    """
    if (line.account.custodian, line.asset_id, line.amount, entry.idempotency_key) not in cash_entries(
        [entry.idempotency_key]
    ):
        raise UnableToAccount(f"{entry} did not move exactly {money.text(line.amount)} {line.asset} on this account")
    return _decide(line, Verdict.TIE, entry.idempotency_key, reason, maker, now)


def not_ours(line: BankLine, *, reason: str, maker: User, now: datetime) -> Approval | None:
    """
    Say that a line is none of the desk's business, and why; above the account's limit ask a second person.

    Raises
    ------
    UnableToAccount
        If the line is not open, or no reason is given.
    lending.access.UnableToAccess
        If the maker is not of operations.
    """
    return _decide(line, Verdict.NOT_OURS, "", reason, maker, now)


def charge(line: BankLine, *, reason: str, maker: User, now: datetime) -> Approval | None:
    """
    Book what the bank took for itself as a cost; above the account's limit ask a second person.

    Raises
    ------
    UnableToAccount
        If the line is not open, money came in, or no reason is given.
    lending.access.UnableToAccess
        If the maker is not of operations.
    """
    if line.amount > 0:
        raise UnableToAccount("money came in: that is no charge of the bank")
    return _decide(line, Verdict.CHARGE, "", reason, maker, now)


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> None:
    """
    Account for a line as two persons agreed.

    Raises
    ------
    lending.approvals.UnableToApprove
        If the line or the entry was accounted for meanwhile.
    """
    asked = approval.payload
    line = _locked(BankLine.objects.get(public_id=asked["line"]))
    try:
        _account_for(
            line,
            Verdict(asked["as"]),
            asked["entry"],
            reason=asked["reason"],
            maker=approval.maker,
            checker=approval.checker,
            now=now,
        )
    except UnableToAccount as refused:
        raise approvals.UnableToApprove(str(refused)) from refused


@transaction.atomic
def _decide(line: BankLine, what: Verdict, key: str, reason: str, maker: User, now: datetime) -> Approval | None:
    row, said = _to_work(line, reason, maker, now)
    if not needs_two(row):
        _account_for(row, what, key, reason=said, maker=maker, checker=None, now=now)
        return None
    payload = {
        "line": str(row.public_id),
        "account": row.account.name,
        "asset": row.asset.code,
        "quantity": money.text(row.amount),
        "booked": str(row.booked_date),
        "as": what.value,
        "entry": key,
        "reason": said,
    }
    return approvals.request(KIND, payload, maker=maker, now=now)


def _to_work(line: BankLine, reason: str, maker: User, now: datetime, *, booked: bool = False) -> tuple[BankLine, str]:
    """Return a line that may be worked, locked, and why it is decided so."""
    access.require_role(maker, *WORKERS)
    row = _locked(line)
    if row.state != BankLine.State.OPEN and not (booked and unclaimed(row)):
        raise UnableToAccount(f"the line is {row.get_state_display().lower()} already")
    said = reasons.kept(reason, UnableToAccount, missing="say how it is known")
    if waiting(row, now=now) is not None:
        raise UnableToAccount("it waits for a second person already")
    return row, said


def _account_for(
    line: BankLine, what: Verdict, key: str, *, reason: str, maker: User, checker: User | None, now: datetime
) -> None:
    if line.state != BankLine.State.OPEN:
        raise UnableToAccount(f"the line is {line.get_state_display().lower()} by now")
    found = None
    if what == Verdict.TIE:
        found = cash_entries([key]).get((line.account.custodian, line.asset_id, line.amount, key))
        if found is None:
            raise UnableToAccount(f"another line is tied to {key} by now")
    elif what == Verdict.CHARGE:
        heading = entries.Heading(
            key=f"bank_charge:{line.account.code}:{line.key}",
            effective_at=line.arrived_at,
            book_id=margin_accounts.house_book().pk,
        )
        charged = entries.bank_charge(
            heading, asset=line.asset.code, amount=line.amount.copy_abs(), bank=line.account.custodian
        )
        found = ledger.post(charged, now=now, actor=checker or maker).pk
    line.maker, line.checker = maker, checker
    _close(line, found, reason, now)


def match(line: BankLine, entry_id: int, *, reason: str, now: datetime) -> None:
    """Tie a locked line to the entry that was booked from it: nobody decided anything."""
    _close(line, entry_id, reason, now)


def _close(line: BankLine, entry_id: int | None, reason: str, now: datetime) -> None:
    line.state = BankLine.State.MATCHED if entry_id else BankLine.State.NOT_OURS
    line.entry_id, line.reason, line.decided_at = entry_id, reason, now
    line.save(update_fields=["state", "entry", "reason", "maker", "checker", "decided_at"])
    facts = {"state": line.state, "entry": entry_id, "maker": line.maker and line.maker.email}
    actor = line.checker or line.maker
    audit.write("bank_line_accounted_for", actor=actor, obj=line, after=facts, reason=reason, now=now)


def _locked(line: BankLine) -> BankLine:
    rows = BankLine.objects.select_for_update(of=("self",)).select_related("account__asset", "asset")
    return rows.get(pk=line.pk)


def recorded(line: BankLine) -> Deposit | None:
    """Return the deposit that is recorded under a line's reference."""
    return Deposit.objects.filter(custodian=line.account.custodian, custodian_ref=_receipt_ref(line)).first()


def _receipt_ref(line: BankLine) -> str:
    return line.ref or f"statement:{line.public_id}"


def book(line: BankLine, address: DepositAddress | None) -> Deposit:
    """Record a receipt as a deposit like any other; below zero no position is the custodian's own."""
    return Deposit.objects.create(
        public_id=ids.derived("deposit", line.account.custodian, _receipt_ref(line)),
        custodian=line.account.custodian,
        custodian_ref=_receipt_ref(line),
        position=-line.pk,
        client_id=address.client_id if address else None,
        sent_to=address.address if address else f"statement: {line.payer or line.text or 'no name'}"[:120],
        address=address,
        asset=line.asset,
        quantity=line.amount,
        confirmations=1,
        screened=True,
        state=Deposit.State.CONFIRMED,
        seen_at=line.arrived_at,
        confirmed_at=line.arrived_at,
    )


def entry_of(deposit: Deposit) -> int:
    return Entry.objects.get(idempotency_key=f"deposit:{deposit.custodian}:{deposit.custodian_ref}").pk


def cash_entries(keys: Iterable[str]) -> dict[tuple[str, int, Decimal, str], int]:
    """Return the entries that moved cash and that no line accounts for, by custodian, asset, amount and key."""
    rows = _on_cash().filter(entry__idempotency_key__in=list(keys))
    return {(party, asset, moved, key): entry for party, asset, key, entry, moved in rows}


def _on_cash() -> QuerySet[Posting, tuple[str, int, str, int, Decimal]]:
    rows = Posting.objects.filter(account__kind=AccountKind.CUSTODY, entry__bank_line=None)
    cut = rows.values_list("account__party", "asset_id", "entry__idempotency_key", "entry_id")
    return cut.annotate(moved=Sum("amount"))
