"""Clients who have gone the whole way: the desk's checklists and agreement, and complete cases for many at once."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from lending import audit, bulk, ids, kyc
from lending.engine import files
from lending.models import (
    AgreementVersion,
    AuditRecord,
    CaseFact,
    ChecklistItem,
    Client,
    Document,
    EligibilityRule,
    KycCase,
    RelatedParty,
    SignedAgreement,
    SigningRule,
    StoredFile,
    User,
)

SINCE = date(2020, 1, 1)
CLASSIFICATIONS = {
    Client.Kind.ENTITY: Client.Classification.PROFESSIONAL,
    Client.Kind.INDIVIDUAL: Client.Classification.RETAIL,
}
_FONT = b"/F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>"
_REVIEW = timedelta(days=700)
_PASSPORT_GOOD_FOR = timedelta(days=1500)
_EXPECTED_USD = Decimal(5_000_000)

#    kind of client, country, document or fact, about, code, label, expires, help
_CHECKLIST = (
    ("entity", "", "document", "client", "certificate-of-incorporation", "Certificate of incorporation", False, ""),
    ("entity", "", "document", "client", "register-extract", "Extract from the commercial register", False,
     "Not older than three months."),
    ("entity", "", "document", "client", "ownership-chart", "Ownership chart", False,
     "Up to every person with 25 % or more."),
    ("entity", "", "document", "client", "board-resolution", "Board resolution on borrowing", False,
     "Names who may sign, and up to how much."),
    ("entity", "", "document", "signer", "identity", "Passport or identity card", True, ""),
    ("entity", "", "document", "owner", "identity", "Passport or identity card", True, ""),
    ("entity", "", "fact", "client", "business", "What the business does", False, ""),
    ("entity", "", "fact", "client", "source-of-funds", "Where its coins come from", False, ""),
    ("entity", "", "fact", "client", "purpose", "What the loans are for", False, ""),
    ("entity", "", "fact", "client", "tax-residence", "Tax residence and number", False, ""),
    ("entity", "US", "document", "client", "w-9", "Form W-9", False, "Signed by an officer."),
    ("individual", "", "document", "client", "identity", "Passport or identity card", True, ""),
    ("individual", "", "document", "client", "proof-of-address", "Proof of address", False,
     "A bill or bank statement, not older than three months."),
    ("individual", "", "fact", "client", "source-of-wealth", "Where the wealth comes from", False, ""),
    ("individual", "", "fact", "client", "purpose", "What the loans are for", False, ""),
    ("individual", "", "fact", "client", "tax-residence", "Tax residence and number", False, ""),
    ("individual", "US", "document", "client", "w-9", "Form W-9", False, ""),
)  # fmt: skip
_OF_HIGH_RISK = (
    ("entity", "", "document", "client", "audited-accounts", "Audited accounts", False, "Of the last two years."),
    ("individual", "", "document", "client", "proof-of-wealth", "Proof of where the wealth comes from", False, ""),
)

#    country, classification, allowed, why
_ELIGIBILITY = (
    ("", "", True, "Loans to whoever no rule shuts out."),
    ("US", "retail", False, "the desk holds no consumer lending licence in the United States"),
    ("KP", "", False, "nobody lends to North Korea"),
)


@dataclass(frozen=True, kw_only=True)
class Newcomer:
    """
    A client that is to be taken the whole way, and the people who sign for it: names and e-mail addresses.

    `jointly` says that it takes two of them to accept an offer.
    """

    client: Client
    signers: Sequence[tuple[str, str]]
    jointly: bool = False


def specimen(title: str) -> bytes:
    """Return a PDF of one page that says what it would be."""
    words = title.encode("latin-1", "replace").replace(b"\\", b"").replace(b"(", b"").replace(b")", b"")
    drawn = b"BT /F1 20 Tf 72 760 Td (" + words + b") Tj 0 -30 Td /F1 12 Tf (Specimen of a demonstration.) Tj ET"
    parts = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << " + _FONT,
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawn), drawn),
    )
    whole, starts = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        starts.append(len(whole))
        whole += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % start for start in starts)
    trailer = b"trailer << /Size 5 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(whole)
    return whole + b"xref\n0 5\n0000000000 65535 f \n" + table + trailer


def rules(*, by: User, second: User, now: datetime) -> None:
    """Write down what this desk asks of clients, and the agreement that they sign; a second call changes nothing."""
    if ChecklistItem.objects.exists():
        return
    ChecklistItem.objects.bulk_create(
        ChecklistItem(
            client_kind=kind, jurisdiction=country, kind=what, about=about, code=code, label=label, expires=expires,
            help=hint, rating=rating, start_date=SINCE, maker=by, checker=second,
        )
        for rating, lines in (("", _CHECKLIST), (KycCase.Rating.HIGH, _OF_HIGH_RISK))
        for kind, country, what, about, code, label, expires, hint in lines
    )  # fmt: skip
    EligibilityRule.objects.bulk_create(
        EligibilityRule(
            jurisdiction=country, classification=classification, allowed=allowed, reason=reason, start_date=SINCE,
            maker=by, checker=second,
        )
        for country, classification, allowed, reason in _ELIGIBILITY
    )  # fmt: skip
    AgreementVersion.objects.create(
        code="2020-01", title="Master loan agreement", file=_kept("Master loan agreement, version 2020-01"),
        start_date=SINCE, published_by=by, published_at=now,
    )  # fmt: skip


def complete(newcomers: Sequence[Newcomer], *, checker: User, now: datetime) -> None:
    """
    Take clients the whole way, in sets of statements: cases that their managers made and `checker` approved.

    Each entity gets owners, directors and signers with an authority matrix by which each signs alone, but for offers
    where two sign jointly; a person signs for themself. Paper is a specimen, the same for all. The clients are ACTIVE
    afterwards.
    """
    for one in newcomers:
        client = one.client
        client.stage, client.stage_at = Client.Stage.ACTIVE, now
        client.classification = client.classification or CLASSIFICATIONS[Client.Kind(client.kind)]
        client.source = client.source or Client.Source.REFERRAL
        client.geography = client.geography or Client.Geography.EUROPE
        client.expected_size_usd = client.expected_size_usd or _EXPECTED_USD
    cases = KycCase.objects.bulk_create(
        KycCase(
            public_id=ids.derived("case", one.client.public_id), client=one.client,
            opened_by=one.client.relationship_manager, opened_at=now,
        )
        for one in newcomers
    )  # fmt: skip
    parties = RelatedParty.objects.bulk_create(
        _party(case, number, name, email)
        for one, case in zip(newcomers, cases, strict=True)
        for number, (name, email) in enumerate(one.signers)
    )
    SigningRule.objects.bulk_create(
        SigningRule(
            case=case,
            client=case.client,
            action=action,
            signatures=2 if one.jointly and action == SigningRule.Action.ACCEPT else 1,
            recorded_by=case.opened_by,
        )
        for one, case in zip(newcomers, cases, strict=True)
        if case.client.kind == Client.Kind.ENTITY
        for action in SigningRule.Action
    )
    _paper(cases, parties, now=now)
    for case in cases:
        case.state, case.maker, case.checker = KycCase.State.APPROVED, case.opened_by, checker
        case.risk_rating, case.rating_reason = KycCase.Rating.LOW, "Known to the desk for years, plain business."
        case.rated_by = case.opened_by
        case.review_date, case.approved_at = (now + _REVIEW).date(), now
    for case, holds in zip(cases, kyc.contents(cases, now=now), strict=True):
        case.content = holds
    names = [
        "state",
        "maker",
        "checker",
        "risk_rating",
        "rating_reason",
        "review_date",
        "rated_by",
        "approved_at",
        "content",
    ]
    bulk.update(cases, names)
    described = ["stage", "stage_at", "classification", "source", "geography", "expected_size_usd"]
    bulk.update([one.client for one in newcomers], described)
    AuditRecord.objects.bulk_create(
        audit.new("case_approved", actor=checker, obj=case, after={"rating": case.risk_rating}, now=now)
        for case in cases
    )


def _party(case: KycCase, number: int, name: str, email: str) -> RelatedParty:
    person = ids.derived("person", case.public_id, number)
    if case.client.kind == Client.Kind.INDIVIDUAL:
        return RelatedParty(
            case=case, client=case.client, person=person, name=case.client.name, country=case.client.jurisdiction,
            email=email, is_signer=True,
        )  # fmt: skip
    return RelatedParty(
        case=case, client=case.client, person=person, name=name,
        country=case.client.jurisdiction, birth_date=date(1971 + number, 4, 17), email=email,
        owner_share=None if number else Decimal(1), is_director=True, is_signer=True, recorded_by=case.opened_by,
    )  # fmt: skip


def _paper(cases: Sequence[KycCase], parties: Sequence[RelatedParty], *, now: datetime) -> None:
    """Give each case the papers and answers that its checklist asks for, and the signed agreement."""
    people: dict[int, list[RelatedParty]] = {}
    for party in parties:
        people.setdefault(party.case_id, []).append(party)
    papers: dict[tuple[int, str, UUID | None], Document] = {}
    answers: dict[tuple[int, str], CaseFact] = {}
    store: dict[str, StoredFile] = {}
    for case in cases:
        client, maker = case.client, case.opened_by
        for kind, country, what, about, code, label, expires, _hint in _CHECKLIST:
            if kind != client.kind or country not in ("", client.jurisdiction):
                continue
            if what == "fact":
                answers[case.pk, code] = CaseFact(
                    case=case, client=client, code=code, value=_said(code, client), recorded_by=maker, recorded_at=now
                )
                continue
            for person in [None] if about == "client" else [party.person for party in people.get(case.pk, ())]:
                papers[client.pk, code, person] = Document(
                    public_id=ids.derived("document", client.public_id, code, person or ""), client=client, kind=code,
                    person=person, file=store.setdefault(label, _unkept(label)), name=f"{code}.pdf",
                    expires_date=(now + _PASSPORT_GOOD_FOR).date() if expires else None, uploaded_by=maker,
                    uploaded_at=now,
                )  # fmt: skip
        papers[client.pk, "agreement", None] = Document(
            public_id=ids.derived("document", client.public_id, "agreement"), client=client, kind="agreement",
            file=store.setdefault("agreement", _unkept("Master loan agreement, signed")), name="agreement.pdf",
            uploaded_by=maker, uploaded_at=now,
        )  # fmt: skip
    StoredFile.objects.bulk_create(store.values())
    CaseFact.objects.bulk_create(answers.values())
    Document.objects.bulk_create(papers.values())
    version = AgreementVersion.objects.get(code="2020-01")
    SignedAgreement.objects.bulk_create(
        SignedAgreement(
            client=case.client, version=version, document=papers[case.client.pk, "agreement", None],
            signed_by=", ".join(party.name for party in people.get(case.pk, ())) or case.client.name,
            signed_date=now.date(), recorded_by=case.opened_by, recorded_at=now,
        )
        for case in cases
    )  # fmt: skip


def _said(code: str, client: Client) -> str:
    return {
        "business": "Trades digital assets on its own account.",
        "source-of-funds": "Bought on exchanges since 2015; statements seen.",
        "source-of-wealth": "Sale of a firm in 2014, invested since.",
        "purpose": "Working capital without selling coins.",
        "tax-residence": f"{client.jurisdiction}, number on file.",
    }[code]


def _unkept(title: str) -> StoredFile:
    content = specimen(title)
    return StoredFile(
        sha256=hashlib.sha256(content).digest(), content=content, content_type=files.PDF, size=len(content)
    )


def _kept(title: str) -> StoredFile:
    row = _unkept(title)
    row.save()
    return row
