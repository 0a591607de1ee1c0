"""What the desk in the middle of the crash has none of, left half done: so that the forms for it are met as well."""

from datetime import date, datetime, timedelta
from decimal import Decimal

from django.contrib.auth.tokens import default_token_generator
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from deploy.demo import reference
from lending import allow_list, bank_statements, collateral, freezes, loans, notices, offers, people, screening
from lending.models import (
    BankLine,
    Client,
    ClientUser,
    CustodyBreak,
    Deposit,
    KycCase,
    Loan,
    LoanState,
    Obligation,
    Product,
    ScreeningMatch,
    User,
)
from risk import disputes, incidents
from risk.models import CreditPolicy, MarginCall, MarginStatus
from tests.factories import lending as make
from tests.factories.bank import BankAccountFactory, camt, line

D = Decimal
NOBODY = "nobody"  # who has not signed in
Pages = list[tuple[str, str]]


def leave(*, now: datetime) -> Pages:
    """Leave something half done for each form that asks for it, and return by whom its page is opened, and where."""
    alice = User.objects.get(email="alice@client1.example")
    words = {"uidb64": urlsafe_base64_encode(force_bytes(alice.pk)), "token": default_token_generator.make_token(alice)}
    doors = [(NOBODY, reverse("sign_in")), (NOBODY, reverse("first_password", kwargs=words))]
    return [*doors, *_of_client(alice, now), *_of_books(alice, now), *_of_calls(now), *_of_clients(now)]


def _of_client(alice: User, now: datetime) -> Pages:
    """Give alice's client money and addresses of its own, an offer, a line and a frozen account."""
    client = alice.client_users.order_by("pk")[0].client
    make.give(client, "USD", "5000", now=now)
    make.give(client, "BTC", "25", now=now)
    for code, address in (("USD", "wire:alice"), ("BTC", "bc1q-alice")):
        make.allowed(client, code, address, now=now)
    quiet, frozen = (
        Loan.objects.filter(client=client)
        .exclude(margin_account__in=MarginCall.objects.values("margin_account"))
        .order_by("pk")[:2]
    )
    freezes.freeze(frozen.margin_account, reason="a court order", by=reference.staff("rhea"), now=now)
    offer = _offered(client, "term-usd-24h", date(2021, 11, 19), now)
    # All are paid out before one of them is broken: nothing is lent to who owes what is due.
    line = _offered(client, "line-usd-24h", None, now)
    terms = [_offered(client, "term-usd-24h", date(2021, 11, 19), now) for _ in range(2)]
    drawn, broken, late = (_funded(loan, alice, D(8), now) for loan in (line, *terms))
    make.broken(broken, "8", "90000", now=now)
    _in_default(late, now)
    called = MarginCall.objects.filter(client=client, state="notified").order_by("pk").first()
    own, where = f"/portal/loans/{quiet.public_id}/", f"/portal/addresses/{client.public_id}/"
    return [
        ("alice", f"/portal/calls/{called.public_id}/dispute/"),
        ("rhea", f"/console/calls/{called.public_id}/waiver/"),
        *(("robin", f"/admin/{page}/{quiet.pk}/") for page in ("amend", "releases", "corrections")),
        ("alice", f"/portal/loans/{offer.public_id}/"),
        *(("alice", page) for page in (own, f"{own}back/", f"{own}exchange/", "/portal/money/", where)),
        ("alice", f"/portal/loans/{drawn.public_id}/line/"),
        ("robin", f"/admin/draws/{drawn.pk}/"),
        ("rhea", f"/admin/recalls/{drawn.pk}/"),
        ("alice", f"/portal/loans/{broken.public_id}/"),
        ("rhea", f"/admin/workouts/{broken.pk}/"),
        ("rhea", f"/admin/defaults/{late.pk}/"),
        ("rhea", f"/admin/lending/loan/{frozen.pk}/change/"),
    ]


def _offered(client: Client, product: str, maturity_date: date | None, now: datetime) -> Loan:
    return offers.quote(
        client=client, product=Product.objects.get(code=product), principal=D(100_000), annual_rate=D("0.1"),
        maturity_date=maturity_date, quoted_until=now + timedelta(days=1), made_by=client.relationship_manager, now=now,
    )  # fmt: skip


def _in_default(loan: Loan, now: datetime) -> None:
    """Have the rows of a loan say that it was not paid, and its client told: half a year is not waited for."""
    asked = Obligation.objects.filter(loan=loan)
    for state in ("noticed", "due", "late"):
        asked.update(state=state, amount=D(100_000), announced_at=now)
    asked.update(state="defaulted", act_at=None)
    loans.transition(loan, LoanState.DEFAULTED, actor=None, cause="half done", now=now, default_at=now)
    key = f"loan_default:{loan.public_id}:{asked.get().due_date}:half done"
    letter = notices.Letter(client=loan.client, kind="loan_default", subject="Default", body="Half done", key=key)
    notices.enqueue([letter], now=now)
    notices.Notice.objects.filter(key=key).update(deemed_received_at=now)


def _funded(loan: Loan, alice: User, quantity: Decimal, now: datetime) -> Loan:
    rhea, olga = reference.staff("rhea"), reference.staff("olga")
    loan = offers.accept(loan, by=alice, now=now)
    loan = offers.collateral_pending(offers.approve(loan, by=rhea, now=now), actor=olga, now=now)
    collateral.pledge(loan.margin_account, make.asset("BTC"), quantity, key=f"pledge:{loan.public_id}", now=now)
    return loans.fund(loan, permit=make.draw_permit(loan, now=now), actor=olga, now=now)


def _of_books(alice: User, now: datetime) -> Pages:
    """Leave a bank line, a break and a deposit that nobody has accounted for, and a request that waits."""
    olga = reference.staff("olga")
    BankAccountFactory()
    bank_statements.import_file(camt(line("900", "B-1", "for Bob")), file_name="may.xml", by=olga, now=now)
    bitcoin = make.asset("BTC")
    found = CustodyBreak.objects.create(
        custodian="paper", asset=bitcoin, code="BTC", ref="tx-9", kind=CustodyBreak.Kind.DEPOSIT,
        words="2 BTC nobody sent", ledger_quantity=D(0), custodian_quantity=D(2), found_at=now, seen_at=now,
        worked_by=olga, worked_since=now,
    )  # fmt: skip
    stray = Deposit.objects.create(
        custodian="paper", custodian_ref="tx-stray", position=10**6, sent_to="bc1q-nobody", asset=bitcoin,
        quantity=D(1), state=Deposit.State.UNMATCHED, seen_at=now,
    )  # fmt: skip
    held = Deposit.objects.create(
        custodian="paper", custodian_ref="tx-held", position=10**6 + 1, sent_to="bc1q-nobody", asset=bitcoin,
        quantity=D(2), state=Deposit.State.HELD, seen_at=now, confirmed_at=now,
    )  # fmt: skip
    CreditPolicy.objects.create(
        asset=make.asset("LINK"), share=D("0.5"), min_confirmations=1, cap_usd=D(1000), wait_s=600, reason="a trial",
        start_at=now, maker=reference.staff("rhea"), checker=reference.staff("hugo"),
    )  # fmt: skip
    client = alice.client_users.order_by("pk")[0].client
    asked = allow_list.ask(
        client, bitcoin, "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu", reason="their letter", maker=olga, now=now
    )
    return [
        ("olga", f"/admin/lending/bankline/{BankLine.objects.get().pk}/change/"),
        ("olga", f"/admin/lending/custodybreak/{found.pk}/change/"),
        ("olga", f"/admin/lending/deposit/{stray.pk}/change/"),
        ("olga", f"/admin/lending/deposit/{held.pk}/change/"),
        ("rhea", f"/admin/lending/approval/{asked.pk}/change/"),
        ("rhea", reverse("admin:risk_conditional_credit")),
    ]


def _of_calls(now: datetime) -> Pages:
    """Leave a dispute without an answer and an incident that somebody has taken on."""
    rhea = reference.staff("rhea")
    call = MarginCall.objects.filter(state="notified").exclude(client__client_users__user__email__startswith="alice@")
    call = (
        call.filter(margin_account__in=MarginStatus.objects.filter(state="call").values("margin_account"))
        .order_by("pk")
        .first()
    )
    signer = ClientUser.objects.filter(client=call.client, role="borrower_admin").first().user
    debt = next(figure for figure in disputes.inputs(call) if figure.part == "debt")
    disputes.open_against(
        call, part="debt", asset=None, claimed=debt.ours - 1000, statement="we have paid that", by=signer, now=now
    )
    incident = incidents.open_once("unknown", "Somebody's account can not be judged", now=now)
    incidents.acknowledge(incident, user=rhea, now=now)
    return [("rhea", f"/console/calls/{call.public_id}/dispute/"), ("rhea", "/console/incidents/")]


def _of_clients(now: datetime) -> Pages:
    """Name a case that is worked on, one whose agreement is to be signed, and somebody who may be on a list."""
    open_case = KycCase.objects.filter(
        state=KycCase.State.OPEN, client__relationship_manager__email__startswith="robin@"
    )
    case = open_case.order_by("pk").first()
    people.register(
        name="Aurelio Velthorn", kind=Client.Kind.INDIVIDUAL, jurisdiction="PT", time_zone="UTC",
        manager=reference.staff("robin"), now=now,
    )  # fmt: skip
    screening.screen_due(now=now)
    match = ScreeningMatch.objects.get()
    path = f"/admin/onboarding/{case.client.public_id}/"
    signed = Client.objects.filter(stage=Client.Stage.ACTIVE, relationship_manager=reference.staff("robin")).first()
    return [
        *(("robin", f"{path}{step}/") for step in ("documents", "people", "review", "agreement")),
        ("robin", f"/admin/onboarding/{signed.public_id}/agreement/"),
        ("cora", f"/admin/lending/screeningmatch/{match.pk}/change/"),
    ]
