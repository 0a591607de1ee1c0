"""SWIFT customer statements, MT940, as banks write them: parsed by the package mt-940, read into our form here."""

from datetime import date
from decimal import Decimal
from typing import Any

from mt940 import Options, parse_statements

from lending.bank_files.records import Line, Statement, UnableToRead, amount, plain, reference

# What the parser may meet in a file that is none, or of a dialect that nobody knows.
_BROKEN = (RuntimeError, ValueError, ArithmeticError, LookupError, AttributeError, TypeError, AssertionError)


def statements(data: bytes) -> list[Statement]:
    """
    Return the statements of a file; each begins with its field :20:.

    Raises
    ------
    UnableToRead
        If a field can not be read or one that is needed is missing.
    """
    try:
        found = parse_statements(data.replace(b"\r\n", b"\n"), options=Options.all())
    except _BROKEN as broken:
        raise UnableToRead(f"the file is no MT940 that can be read: {plain(str(broken), most=160)}") from broken
    return [_statement(one, f"statement {n}") for n, one in enumerate(found, start=1)]


def _statement(found: Any, where: str) -> Statement:
    said = found.data
    account = plain(str(said.get("account_identification") or ""), most=60)
    if not account:
        raise UnableToRead(f"{where} names no account (field :25:)")
    opening = _balance(said, ("final_opening_balance", "intermediate_opening_balance"), "opening", ":60F:", where)
    closing = _balance(said, ("final_closing_balance", "intermediate_closing_balance"), "closing", ":62F:", where)
    if opening[1] != closing[1]:
        raise UnableToRead(f"{where} opens in {opening[1]} and closes in {closing[1]}")
    parts = [str(said.get(name) or "") for name in ("statement_number", "sequence_number")]
    number = "/".join(part for part in parts if part) or str(said.get("transaction_reference") or "")
    lines = [
        _line(one.data, opening[1], position, f"{where}, line {position}")
        for position, one in enumerate(found.transactions, start=1)
    ]
    return Statement(
        form="MT940",
        account=account,
        number=plain(number, most=60),
        currency=opening[1],
        opening=opening[0],
        closing=closing[0],
        opening_date=opening[2],
        closing_date=closing[2],
        lines=tuple(line for line in lines if line.amount),
    )


def _balance(
    said: dict[str, Any], names: tuple[str, ...], what: str, field: str, where: str
) -> tuple[Decimal, str, date]:
    balance = next((said[name] for name in names if said.get(name) is not None), None)
    if balance is None:
        raise UnableToRead(f"{where} has no {what} balance (field {field})")
    return _signed(balance.amount, f"{where}, {what} balance"), str(balance.amount.currency), _plain_day(balance.date)


def _line(said: dict[str, Any], currency: str, position: int, where: str) -> Line:
    if said.get("currency") not in {None, currency}:
        raise UnableToRead(f"{where} is in {said['currency']}, the statement in {currency}")
    if said.get("amount") is None:
        raise UnableToRead(f"{where} has no amount (field :61:)")
    words = ("purpose", "additional_purpose", "transaction_details", "extra_details", "posting_text")
    payer = said.get("applicant_name") or said.get("recipient_name") or ""
    return Line(
        position=position,
        ref=reference(str(said.get("bank_reference") or "")),
        end_to_end=reference(str(said.get("end_to_end_reference") or said.get("customer_reference") or "")),
        booked_date=_plain_day(said.get("entry_date") or said["date"]),
        value_date=_plain_day(said["date"]),
        amount=_signed(said["amount"], where),
        payer=plain(str(payer), most=160),
        text=plain(" ".join(str(said[name]) for name in words if said.get(name))),
    )


def _signed(said: Any, where: str) -> Decimal:
    value = amount(str(said.amount.copy_abs()), where)
    return value.copy_negate() if said.amount < 0 else value


def _plain_day(said: date) -> date:
    """Return a day as the standard library writes it: the parser has a type of its own."""
    return date(said.year, said.month, said.day)
