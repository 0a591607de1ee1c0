"""
ISO 20022 bank-to-customer statements, camt.053, in every version of the namespace that banks send.

What differs between the versions is read in both shapes: a status is a text before version 4 and a code inside since; a
party's name stands in the party before version 8 and one step deeper since. Only booked entries count. A collective
entry whose parts add up to it is read as its parts, because each is another payer's.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from xml.etree.ElementTree import Element, ParseError  # nosec B405: types only, defusedxml parses

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from lending.bank_files.records import Line, Statement, UnableToRead, amount, plain, reference
from lending.engine import money

_NAMESPACE = re.compile(r"\{urn:iso:std:iso:20022:tech:xsd:camt\.053\.001\.\d\d\}Document")
_OPENING, _CLOSING = ("OPBD", "PRCD"), ("CLBD",)


def statements(data: bytes) -> list[Statement]:
    """
    Return the statements of a message.

    Raises
    ------
    UnableToRead
        If it is no well-formed camt.053, declares entities, or a part that is needed is missing or malformed.
    """
    try:
        root = fromstring(data, forbid_dtd=True)
    except DefusedXmlException as refused:
        raise UnableToRead("the file declares a document type or entities, which no bank statement needs") from refused
    except (ParseError, ValueError, LookupError) as broken:
        raise UnableToRead(f"the file is no well-formed XML: {broken}") from broken
    if not _NAMESPACE.fullmatch(root.tag):
        raise UnableToRead(f"this is no camt.053: its root is {root.tag[:90]}")
    for element in root.iter():
        if isinstance(element.tag, str):
            element.tag = element.tag.rpartition("}")[2]
    message = root.find("BkToCstmrStmt")
    if message is None:
        raise UnableToRead("this camt.053 holds no BkToCstmrStmt")
    return [_statement(found, f"statement {n}") for n, found in enumerate(message.findall("Stmt"), start=1)]


def _statement(found: Element, where: str) -> Statement:
    number = _text(found, "ElctrncSeqNb") or _text(found, "LglSeqNb") or _text(found, "Id")
    if not number:
        raise UnableToRead(f"{where} has no number: neither ElctrncSeqNb, LglSeqNb nor Id")
    account = _text(found, "Acct/Id/IBAN") or _text(found, "Acct/Id/Othr/Id")
    if not account:
        raise UnableToRead(f"{where} names no account")
    opening, opened, currency = _balance(found, _OPENING, "opening", where)
    closing, closed, closing_currency = _balance(found, _CLOSING, "closing", where)
    lines: list[Line] = []
    for position, entry in enumerate(found.findall("Ntry"), start=1):
        lines += _lines(entry, currency, f"{where}, entry {position}")
    if closing_currency != currency:
        raise UnableToRead(f"{where} opens in {currency} and closes in {closing_currency}")
    return Statement(
        form="camt.053",
        account=account,
        number=plain(number, most=60),
        currency=currency,
        opening=opening,
        closing=closing,
        opening_date=opened,
        closing_date=closed,
        lines=tuple(_numbered(lines)),
    )


def _balance(found: Element, codes: tuple[str, ...], what: str, where: str) -> tuple[Decimal, date, str]:
    for code in codes:
        for balance in found.findall("Bal"):
            if _text(balance, "Tp/CdOrPrtry/Cd") == code:
                place = f"{where}, {what} balance"
                currency, value = _amount(balance, place)
                day, _ = _day(balance.find("Dt"), place)
                return value, day, currency
    raise UnableToRead(f"{where} has no {what} balance ({' or '.join(codes)})")


def _lines(entry: Element, currency: str, where: str) -> Iterator[Line]:
    status = _text(entry, "Sts/Cd") or _text(entry, "Sts")
    if status != "BOOK":
        return
    of, value = _amount(entry, where)
    if of != currency:
        raise UnableToRead(f"{where} is in {of}, the statement in {currency}")
    if not value:
        return
    booked, booked_at = _day(entry.find("BookgDt"), where)
    valued, _ = _day(entry.find("ValDt"), where) if entry.find("ValDt") is not None else (booked, None)
    ref = reference(_text(entry, "AcctSvcrRef") or _text(entry, "NtryRef"))
    text = _text(entry, "AddtlNtryInf")
    parts = entry.findall("NtryDtls/TxDtls")
    shares = _shares(parts, value, currency, where)
    for n, (part, share) in enumerate(zip(parts, shares, strict=True) if shares else [(None, value)], start=1):
        details = parts[:1] if part is None else [part]
        own = reference(_text(details[0], "Refs/AcctSvcrRef")) if details else ""
        shared = f"{ref}/{n}" if ref and part is not None and len(parts) > 1 else ref
        yield Line(
            position=0,
            ref=own if own and own != ref else shared,
            end_to_end=reference(_text(details[0], "Refs/EndToEndId")) if details else "",
            booked_date=booked,
            value_date=valued,
            booked_at=booked_at,
            amount=share,
            payer=plain(_payer(details[0], incoming=value > 0), most=160) if details else "",
            text=plain(" ".join([*(_remittance(detail) for detail in (details if part is not None else parts)), text])),
        )


def _shares(parts: list[Element], value: Decimal, currency: str, where: str) -> list[Decimal]:
    """Return what each part of a collective entry moved, or nothing where they are not known or do not add up."""
    if len(parts) < 2:
        return []
    found = []
    for part in parts:
        said = part.find("Amt") if part.find("Amt") is not None else part.find("AmtDtls/TxAmt/Amt")
        if said is None or said.get("Ccy") != currency:
            return []
        share = amount(said.text or "", where)
        mark = _text(part, "CdtDbtInd")
        outgoing = mark == "DBIT" if mark else value < 0
        found.append(share.copy_negate() if outgoing else share)
    with money.exact():
        return found if all(found) and sum(found, money.ZERO) == value else []


def _numbered(lines: list[Line]) -> Iterator[Line]:
    for position, line in enumerate(lines, start=1):
        yield replace(line, position=position)


def _amount(holder: Element, where: str) -> tuple[str, Decimal]:
    said = holder.find("Amt")
    if said is None:
        raise UnableToRead(f"{where} has no amount")
    value = amount(said.text or "", where)
    mark = _text(holder, "CdtDbtInd")
    if mark not in {"CRDT", "DBIT"}:
        raise UnableToRead(f"{where} says neither CRDT nor DBIT")
    return said.get("Ccy", ""), value.copy_negate() if mark == "DBIT" and value else value


def _day(found: Element | None, where: str) -> tuple[date, datetime | None]:
    if found is not None:
        try:
            if day := _text(found, "Dt"):
                return date.fromisoformat(day[:10]), None
            if instant := _text(found, "DtTm"):
                at = datetime.fromisoformat(instant)
                # Without an offset it is the bank's own time, which the file does not tell.
                return at.date(), at.astimezone(UTC) if at.tzinfo else None
        except ValueError:
            raise UnableToRead(f"{where} has no date that exists") from None
    raise UnableToRead(f"{where} has no date")


def _payer(part: Element, *, incoming: bool) -> str:
    who = "Dbtr" if incoming else "Cdtr"
    return _text(part, f"RltdPties/{who}/Nm") or _text(part, f"RltdPties/{who}/Pty/Nm")


def _remittance(part: Element) -> str:
    said = [element.text or "" for element in part.findall("RmtInf/Ustrd")]
    said += [element.text or "" for element in part.findall("RmtInf/Strd/CdtrRefInf/Ref")]
    return " ".join(said)


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()
