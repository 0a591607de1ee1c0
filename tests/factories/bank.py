"""Bank accounts and statements as banks send them: the same movements in camt.053 of any version, or in MT940."""

from decimal import Decimal
from xml.sax.saxutils import escape, quoteattr

import factory
from factory.django import DjangoModelFactory

from lending.models import BankAccount
from tests.factories.lending import AssetFactory

IBAN = "CH9300762011623852957"
NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:camt.053.001."


class BankAccountFactory(DjangoModelFactory):
    """A dollar account of its own, on which one person decides about up to 1,000."""

    class Meta:
        model = BankAccount
        django_get_or_create = ("code",)

    code = "alpine-usd"
    name = "Alpine Bank, dollars"
    identifier = IBAN
    asset = factory.SubFactory(AssetFactory, code="USD")
    custodian = "alpine"
    second_person_above = Decimal(1000)


def line(amount: str, ref: str = "", text: str = "", payer: str = "", day: str = "2021-05-19", e2e: str = "") -> dict:
    """Return one movement."""
    return {"amount": Decimal(amount), "ref": ref, "text": text, "payer": payer, "day": day, "e2e": e2e}


def camt(
    *lines: dict,
    opening: str = "0",
    closing: str | None = None,
    number: str = "1",
    version: str = "02",
    account: str = IBAN,
    currency: str = "USD",
    day: str = "2021-05-19",
    status: str = "BOOK",
    document_type: str = "",
) -> bytes:
    """Return a message with one statement; it adds up unless a closing balance is named."""
    closes = Decimal(closing) if closing is not None else Decimal(opening) + sum(item["amount"] for item in lines)
    entries = "".join(_entry(item, version, currency, status) for item in lines)
    return (
        f"<?xml version='1.0' encoding='UTF-8'?>{document_type}<Document xmlns={quoteattr(NAMESPACE + version)}>"
        "<BkToCstmrStmt><GrpHdr><MsgId>m</MsgId><CreDtTm>2021-05-19T18:00:00</CreDtTm></GrpHdr><Stmt>"
        f"<Id>S{number}</Id><ElctrncSeqNb>{number}</ElctrncSeqNb>"
        f"<Acct><Id><IBAN>{account}</IBAN></Id><Ccy>{currency}</Ccy></Acct>"
        f"{_balance('OPBD', Decimal(opening), currency, day)}{_balance('CLBD', closes, currency, day)}"
        f"{entries}</Stmt></BkToCstmrStmt></Document>"
    ).encode()


def _balance(code: str, amount: Decimal, currency: str, day: str) -> str:
    mark = "DBIT" if amount < 0 else "CRDT"
    return (
        f"<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp><Amt Ccy={quoteattr(currency)}>{abs(amount)}</Amt>"
        f"<CdtDbtInd>{mark}</CdtDbtInd><Dt><Dt>{day}</Dt></Dt></Bal>"
    )


def _entry(item: dict, version: str, currency: str, status: str) -> str:
    mark = "DBIT" if item["amount"] < 0 else "CRDT"
    party = "Cdtr" if item["amount"] < 0 else "Dbtr"
    name = f"<Nm>{escape(item['payer'])}</Nm>"
    shown = f"<Sts>{status}</Sts>" if version < "04" else f"<Sts><Cd>{status}</Cd></Sts>"
    whom = name if version < "08" else f"<Pty>{name}</Pty>"
    ref = f"<AcctSvcrRef>{escape(item['ref'])}</AcctSvcrRef>" if item["ref"] else ""
    return (
        f"<Ntry><Amt Ccy={quoteattr(currency)}>{abs(item['amount'])}</Amt><CdtDbtInd>{mark}</CdtDbtInd>{shown}"
        f"<BookgDt><Dt>{item['day']}</Dt></BookgDt><ValDt><Dt>{item['day']}</Dt></ValDt>{ref}<NtryDtls><TxDtls>"
        f"<Refs><EndToEndId>{escape(item['e2e'] or 'NOTPROVIDED')}</EndToEndId></Refs>"
        f"<RltdPties><{party}>{whom}</{party}></RltdPties>"
        f"<RmtInf><Ustrd>{escape(item['text'])}</Ustrd></RmtInf></TxDtls></NtryDtls></Ntry>"
    )


def mt940(
    *lines: dict, opening: str = "0", closing: str | None = None, number: str = "1", account: str = IBAN,
    currency: str = "USD", day: str = "2021-05-19",
) -> bytes:  # fmt: skip
    """Return a statement in the older form; it adds up unless a closing balance is named."""
    closes = Decimal(closing) if closing is not None else Decimal(opening) + sum(item["amount"] for item in lines)
    written = "".join(
        f":61:{_day(item['day'])}{_day(item['day'])[2:]}{'D' if item['amount'] < 0 else 'C'}{_comma(item['amount'])}"
        f"NTRF{item['e2e'] or 'NONREF'}{'//' + item['ref'] if item['ref'] else ''}\n"
        f":86:{item['text']} {item['payer']}\n"
        for item in lines
    )
    return (
        f":20:STATEMENT\n:25:{account}\n:28C:{number}/1\n:60F:{_side(Decimal(opening))}{_day(day)}{currency}"
        f"{_comma(Decimal(opening))}\n{written}:62F:{_side(closes)}{_day(day)}{currency}{_comma(closes)}\n-\n"
    ).encode()


def _day(day: str) -> str:
    return day[2:].replace("-", "")


def _side(amount: Decimal) -> str:
    return "D" if amount < 0 else "C"


def _comma(amount: Decimal) -> str:
    return f"{abs(amount):.2f}".replace(".", ",")
