"""Statements as banks send them: both forms read alike, and every file that is none refused in words."""

import datetime as dt
from decimal import Decimal

import pytest

from lending import bank_files
from tests import bad_input
from tests.factories.bank import IBAN, NAMESPACE, camt, line, mt940

D = Decimal
BOMB = "<!DOCTYPE lolz [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;'>]>"
OUTSIDE = "<!DOCTYPE x [<!ENTITY secret SYSTEM 'file:///etc/passwd'>]>"
RECEIPT = line("5000.00", "BR-77", "usd-0123456789abcdef", "Harbourside")
CHARGE = line("-20.00", "BR-78", "charges")


@pytest.mark.parametrize("version", ["02", "03", "04", "06", "08", "10", "13"])
def test_every_version_of_camt_says_the_same(version: str) -> None:
    (found,) = bank_files.read(camt(RECEIPT, CHARGE, opening="100.00", version=version))
    assert (found.account, found.number, found.currency) == (IBAN, "1", "USD")
    assert (found.opening, found.closing) == (D("100.00"), D("5080.00"))
    receipt, charge = found.lines
    assert (receipt.amount, receipt.ref, receipt.payer) == (D(5000), "BR-77", "Harbourside")
    assert receipt.text == "usd-0123456789abcdef"
    assert (charge.amount, charge.booked_date, charge.end_to_end) == (D(-20), dt.date(2021, 5, 19), "")


def test_mt940_says_the_same() -> None:
    (found,) = bank_files.read(mt940(RECEIPT, CHARGE, opening="100.00"))
    assert (found.account, found.number, found.currency) == (IBAN, "1/1", "USD")
    assert (found.opening, found.closing) == (D("100.00"), D("5080.00"))
    assert [(one.amount, one.ref) for one in found.lines] == [(D(5000), "BR-77"), (D(-20), "BR-78")]
    assert "usd-0123456789abcdef" in found.lines[0].text


def test_a_file_may_hold_several_statements() -> None:
    both = mt940(RECEIPT, opening="0", number="1") + mt940(CHARGE, opening="5000.00", number="2")
    assert [one.number for one in bank_files.read(both)] == ["1/1", "2/1"]


def test_an_overdrawn_account_is_below_zero() -> None:
    for form in (camt, mt940):
        (found,) = bank_files.read(form(CHARGE, opening="-5.00"))
        assert (found.opening, found.closing) == (D(-5), D(-25))


def test_what_is_only_announced_does_not_count() -> None:
    assert bank_files.read(camt(RECEIPT, opening="5", closing="5", status="PDNG"))[0].lines == ()


def test_a_collective_entry_is_read_as_its_parts() -> None:
    part = "<TxDtls><Refs><EndToEndId>{}</EndToEndId></Refs><Amt Ccy='USD'>{}</Amt><CdtDbtInd>CRDT</CdtDbtInd></TxDtls>"
    whole = camt(line("30.00", "B-1")).decode()
    start, end = whole.index("<TxDtls>"), whole.index("</NtryDtls>")
    parts = part.format("E-1", "10.00") + part.format("E-2", "20.00")
    (found,) = bank_files.read((whole[:start] + parts + whole[end:]).encode())
    assert [(one.amount, one.ref, one.end_to_end) for one in found.lines] == [
        (D(10), "B-1/1", "E-1"),
        (D(20), "B-1/2", "E-2"),
    ]
    lopsided = part.format("E-1", "10.00") + part.format("E-2", "19.00")
    (found,) = bank_files.read((whole[:start] + lopsided + whole[end:]).encode())
    assert [one.amount for one in found.lines] == [D(30)]


GOOD = camt(RECEIPT, CHARGE, opening="100.00").decode()
OLD = mt940(RECEIPT, CHARGE, opening="100.00").decode()
BAD = {
    "empty": "",
    "blank": " \n\t",
    "too large": "<" + " " * bank_files.SIZE,
    "a table": "date;amount\n2021-05-19;5",
    "a picture": "\x89PNG\r\n",
    "cut off": GOOD[:400],
    "another message": GOOD.replace("camt.053", "camt.054"),
    "no namespace": GOOD.replace(f"xmlns=\"{NAMESPACE}02\"", ""),
    "entities": camt(RECEIPT, document_type=BOMB).decode(),
    "a file of ours": camt(RECEIPT, document_type=OUTSIDE).decode(),
    "an unknown encoding": GOOD.replace("UTF-8", "klingon"),
    "no statement": f"<Document xmlns='{NAMESPACE}08'><BkToCstmrStmt/></Document>",
    "no message": f"<Document xmlns='{NAMESPACE}08'/>",
    "no account": GOOD.replace("IBAN", "Nothing"),
    "no opening": GOOD.replace("OPBD", "XXXX"),
    "no closing": GOOD.replace("CLBD", "XXXX"),
    "does not add up": camt(RECEIPT, closing="4999.99").decode(),
    "no amount": GOOD.replace(">5000.00<", "><"),
    "a word for an amount": GOOD.replace(">5000.00<", ">many<"),
    "not a number": GOOD.replace(">5000.00<", ">NaN<"),
    "endless": GOOD.replace(">5000.00<", ">Infinity<"),
    "a sign": GOOD.replace(">5000.00<", ">-5000.00<"),
    "too much": GOOD.replace(">5000.00<", ">1e30<"),
    "too fine": GOOD.replace(">5000.00<", ">0.0000000000000000001<"),
    "neither in nor out": GOOD.replace("CRDT</CdtDbtInd><Sts>", "X</CdtDbtInd><Sts>"),
    "another currency": GOOD.replace('Ccy="USD">5000', 'Ccy="EUR">5000'),
    "no such day": GOOD.replace("<BookgDt><Dt>2021-05-19", "<BookgDt><Dt>2021-02-30"),
    "no day": GOOD.replace("BookgDt", "Other"),
    "ends before it begins": OLD.replace(":60F:C210519", ":60F:C210520"),
    "old: no account": OLD.replace(f":25:{IBAN}\n", ""),
    "old: no opening": OLD.replace(":60F:C210519USD100,00\n", ""),
    "old: cut off": OLD[: OLD.index(":62F:")],
    "old: does not add up": mt940(RECEIPT, closing="1.00").decode(),
    "old: two currencies": OLD.replace(":62F:C210519USD", ":62F:C210519EUR"),
    "old: no such day": OLD.replace(":62F:C210519", ":62F:C211399"),
    "old: an unreadable line": OLD.replace("C5000,00", "C5x00,00"),
    "old: nothing but a head": ":20:STATEMENT\n",
}  # fmt: skip


def test_what_is_no_statement_is_refused_in_words() -> None:
    read = {}
    for case, written in BAD.items():
        with pytest.raises(bank_files.UnableToRead) as refused:
            bank_files.read(written.encode("latin-1") if case == "a picture" else written.encode())
        read[case] = [str(refused.value)]
    bad_input.stands(bad_input.IMPORTS, "Bank statements, camt.053 and MT940: the file", read)


def test_too_many_lines_are_refused() -> None:
    many = bank_files.Statement(
        form="MT940", account=IBAN, number="1", currency="USD", opening=D(0), closing=D(0),
        opening_date=dt.date(2021, 5, 19), closing_date=dt.date(2021, 5, 19),
        lines=(bank_files.read(camt(CHARGE, opening="20"))[0].lines[0],) * (bank_files.LINES + 1),
    )  # fmt: skip
    with pytest.raises(bank_files.UnableToRead, match="10,001 lines; at most 10,000"):
        many.check()


def test_what_no_page_could_show_is_left_out() -> None:
    (found,) = bank_files.read(camt(line("1", "R\u202e1", "two\nlines\tof  text")))
    assert (found.lines[0].ref, found.lines[0].text) == ("R 1", "two lines of text")
