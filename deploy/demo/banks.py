"""What the demo desk's banks sent this morning: one that is reported live, in camt.053, and a small one in MT940."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from xml.sax.saxutils import escape, quoteattr  # nosec B406: writes XML, reads none

from lending import bank_statements, ports
from lending.engine.chart import AccountKind
from lending.models import Asset, BankAccount, Posting, Withdrawal

LIVE, SMALL = "paper-usd", "quay-usd"
_NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"


def send(*, now: datetime) -> None:
    """Open the desk's bank accounts and take in what their banks say of the day so far; once."""
    dollars = Asset.objects.get(code="USD")
    for code, name, identifier, custodian, live in (
        (LIVE, "Paper Bank, dollars", "GB29NWBK60161331926819", ports.custodian().name, True),
        (SMALL, "Quay Bank, dollars", "GB33BUKB20201555555555", "quaybank", False),
    ):
        BankAccount.objects.get_or_create(
            code=code,
            defaults={
                "name": name,
                "identifier": identifier,
                "asset": dollars,
                "custodian": custodian,
                "reported_live": live,
                "second_person_above": Decimal(10_000),
            },
        )
    for name, data in (("paper-bank.xml", _live(now.date())), ("quay-bank.sta", _small(now.date()))):
        bank_statements.import_file(data, file_name=name, by=None, now=now)


def _live(day: date) -> bytes:
    """Return the statement of the account whose receipts the custodian reports as they come."""
    cash = Posting.objects.filter(account__kind=AccountKind.CUSTODY, account__party=ports.custodian().name)
    rows = cash.filter(asset__code="USD").order_by("entry__effective_at", "pk")
    moved = rows.values_list("amount", "entry__idempotency_key", "entry__kind")
    sent = {f"withdrawal:{row.key}": str(row.public_id) for row in Withdrawal.objects.filter(asset__code="USD")}
    closing = sum((amount for amount, _, _ in moved), Decimal(0))
    lines = "".join(
        f"<Ntry>{_amount(amount)}<Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>{day}</Dt></BookgDt><ValDt><Dt>{day}</Dt></ValDt>"
        f"<AcctSvcrRef>{escape(key.removeprefix('deposit:paper:') if key not in sent else f'PB{n:06d}')}</AcctSvcrRef>"
        f"<NtryDtls><TxDtls><Refs><EndToEndId>{escape(sent.get(key, 'NOTPROVIDED'))}</EndToEndId></Refs>"
        f"<RmtInf><Ustrd>{escape(kind)}</Ustrd></RmtInf></TxDtls></NtryDtls></Ntry>"
        for n, (amount, key, kind) in enumerate(moved, start=1)
    )
    balances = "".join(
        f"<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp>{_amount(amount)}<Dt><Dt>{day}</Dt></Dt></Bal>"
        for code, amount in (("OPBD", Decimal(0)), ("CLBD", closing))
    )
    return (
        f"<?xml version='1.0' encoding='UTF-8'?><Document xmlns={quoteattr(_NAMESPACE)}><BkToCstmrStmt><Stmt>"
        f"<Id>PB-{day:%Y%m%d}</Id><ElctrncSeqNb>{day:%j}</ElctrncSeqNb>"
        f"<Acct><Id><IBAN>GB29NWBK60161331926819</IBAN></Id></Acct>{balances}{lines}"
        "</Stmt></BkToCstmrStmt></Document>"
    ).encode()


def _amount(amount: Decimal) -> str:
    mark = "DBIT" if amount < 0 else "CRDT"
    return f'<Amt Ccy="USD">{amount.copy_abs():.2f}</Amt><CdtDbtInd>{mark}</CdtDbtInd>'


def _small(day: date) -> bytes:
    """Return the statement of an account that nobody reports live: its lines wait for operations."""
    before, earlier = day - timedelta(days=1), day - timedelta(days=3)
    lines = (
        (earlier, "C", "12500,00", "QB0514", "invoice 2021-114, interest on our loan", "Tidewater Trading AG"),
        (earlier, "D", "35,00", "QB0515", "account fee May", "Quay Bank"),
        (before, "C", "4200,00", "QB0518", "thank you for lunch", "J. Fairweather"),
        (day, "C", "250000,00", "QB0519", "as agreed by phone", "Northfield Holdings"),
    )
    written = "".join(
        f":61:{at:%y%m%d}{at:%m%d}{side}{amount}NTRFNONREF//{ref}\n:86:166?20{text}?32{who}\n"
        for at, side, amount, ref, text, who in lines
    )
    return (
        f":20:QUAYBANK\n:25:GB33BUKB20201555555555\n:28C:{day:%j}/1\n:60F:C{earlier:%y%m%d}USD1000,00\n{written}"
        f":62F:C{day:%y%m%d}USD267665,00\n-\n"
    ).encode()
