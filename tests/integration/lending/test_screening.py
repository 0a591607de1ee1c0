"""Clients are held against the lists that stand; compliance decides, two persons clear, the database holds to it."""

from collections.abc import Callable
from datetime import date, timedelta
from io import BytesIO
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext

from lending import access, approvals, kyc, matches, offers, parties, sanctions, screening, withdrawals
from lending.models import (
    Approval,
    Client,
    ClientUser,
    RelatedParty,
    Role,
    SanctionsList,
    Screening,
    ScreeningMatch,
    User,
)
from tests.factories import list_files as made
from tests.factories.lending import AT as LATER
from tests.factories.lending import NOW, ClientFactory, asset, pending_loan, staff

pytestmark = pytest.mark.django_db
_State = ScreeningMatch.State


class File(BytesIO):
    def __init__(self, name: str, text: str) -> None:
        super().__init__(text.encode())
        self.name = name


Bring = Callable[..., None]


@pytest.fixture
def cora() -> User:
    return staff("cora", Role.COMPLIANCE)


@pytest.fixture
def bring(cora: User) -> Bring:
    """Bring a version of the list in, of (number, name, kind)."""

    def brought(*entries: tuple[int, str, str], remarks: str = made.NONE, confirmed: bool = False) -> None:
        refs = entries[0][0]
        files = [
            File("sdn.csv", made.sdn_csv(*entries, remarks=remarks)),
            File("alt.csv", f'{refs},1,"aka","ANOTHER NAME ALTOGETHER",-0-\n'),
            File("add.csv", f"{refs},1,-0-,-0-,-0-,-0-\n"),
        ]
        sdn = SanctionsList.objects.get(code="ofac-sdn")
        upload = sanctions.receive(sdn, files, published_on=date(2021, 5, 18), confirmed=confirmed, by=cora, now=NOW)
        sanctions.take_in(upload.pk, now=NOW)
        assert sanctions.current(sdn).upload_id == upload.pk

    return brought


@pytest.fixture
def client() -> Client:
    return ClientFactory.create(name="Aurelio Velthorn", kind="individual", jurisdiction="PT")


ENTRY = (101, "VELTHORN, Aurelio Pasco", "individual")


def only() -> ScreeningMatch:
    return ScreeningMatch.objects.get(ended_at=None)


def test_where_a_client_stands(bring: Bring, cora: User, client: Client) -> None:
    assert screening.standing(client).state == "never"
    assert screening.screen_due(now=NOW) == 0, "there is no list yet"
    bring((7, "HOLLOW PINE LTD", ""))
    assert screening.screen_due(now=NOW) >= 1
    assert screening.screen_due(now=NOW) == 0
    assert screening.standing(client).clear
    bring((7, "HOLLOW PINE LTD", ""), ENTRY)
    assert screening.standing(client).state == "due"
    screening.screen_due(now=LATER)
    assert screening.standing(client).state == "open"
    match = only()
    assert (match.subject, match.entry.ref, match.why["alias"]) == ("client", "101", "VELTHORN, Aurelio Pasco")
    assert match.why["only_list"] == ["pasco"]
    matches.decide(match, is_true=True, reason="passport", by=cora, now=LATER)
    assert screening.standing(client).state == "blocked"
    assert Screening.objects.filter(client=client, ended_at=None).count() == 1


def test_a_decision_holds_until_one_side_says_otherwise(bring: Bring, cora: User, client: Client) -> None:
    bring(ENTRY)
    screening.screen_due(now=NOW)
    matches.decide(only(), is_true=False, reason="another date of birth", by=cora, now=NOW)
    assert screening.standing(client).clear
    bring(ENTRY, (8, "OCHRE MILL", ""))
    screening.screen_due(now=NOW)
    assert only().state == _State.FALSE_POSITIVE, "another entry of the list does not matter"
    bring((101, "VELTHORN, Aurelio", "individual"))
    screening.screen_due(now=NOW)
    assert only().state == _State.OPEN, "the entry says something else"
    matches.decide(only(), is_true=False, reason="still another", by=cora, now=NOW)
    Client.objects.filter(pk=client.pk).update(jurisdiction="FR")
    screening.screen_due(now=NOW)
    assert only().state == _State.OPEN, "the client says something else"
    assert ScreeningMatch.objects.filter(state=_State.FALSE_POSITIVE).count() == 2


def test_those_behind_a_client_are_looked_for_once_each(bring: Bring, cora: User) -> None:
    robin = staff("robin", Role.RELATIONSHIP_MANAGER)
    firm = ClientFactory.create(name="Quiet Harbour", relationship_manager=robin, signers=[])
    for name, email in (("Aurelio Velthorn", "av@quiet.example"), ("Ines Parma", "ip@quiet.example")):
        user = User.objects.create(email=email, name=name)
        ClientUser.objects.create(client=firm, user=user, role=Role.BORROWER_ADMIN, created_at=NOW)
    case = kyc.open_case(firm, by=robin, now=NOW)
    known = {"email": "av@quiet.example", "is_director": True, "is_signer": True, "by": robin, "now": NOW}
    born = date(1963, 7, 28)
    parties.add_party(case, name="Aurélio Velthorn", country="PT", birth_date=born, owner_share=None, **known)
    found = screening.subjects([firm])[firm.pk]
    assert [(who.name, who.born, who.countries) for who in found] == [
        ("Quiet Harbour", None, ("CH",)),
        ("Aurélio Velthorn", born, ("PT",)),
        ("Ines Parma", None, ()),
    ]
    bring(ENTRY)
    screening.screen_due(now=NOW)
    person = RelatedParty.objects.get(client=firm).person
    assert ScreeningMatch.objects.get(client=firm).subject == f"party {person}"
    assert screening.standing(firm).state == "open"


def test_an_open_match_lapses_when_the_list_drops_it_and_not_when_the_client_is_renamed(
    bring: Bring, client: Client
) -> None:
    bring(ENTRY)
    screening.screen_due(now=NOW)
    Client.objects.filter(pk=client.pk).update(name="Somebody Else Entirely")
    screening.screen_due(now=NOW)
    assert only().state == _State.OPEN
    bring((8, "OCHRE MILL", ""))
    screening.screen_due(now=NOW)
    assert ScreeningMatch.objects.get().state == _State.LAPSED


def test_a_file_that_was_sent_in_as_meant_lets_nobody_go(bring: Bring, client: Client) -> None:
    bring(ENTRY)
    screening.screen_due(now=NOW)
    bring((8, "OCHRE MILL", ""), confirmed=True)
    screening.screen_due(now=NOW)
    assert only().state == _State.OPEN


def test_signs_that_nobody_sees_hide_no_name(bring: Bring, client: Client) -> None:
    bring(ENTRY)
    Client.objects.filter(pk=client.pk).update(name="Aure\u200blio Vel\u00adthorn")
    screening.screen_due(now=NOW)
    assert only().state == _State.OPEN


def test_a_confirmed_match_stops_what_is_new_and_what_goes_out(bring: Bring, cora: User) -> None:
    loan = pending_loan()
    client = loan.client
    Client.objects.filter(pk=client.pk).update(name="Aurelio Velthorn", jurisdiction="PT")
    client.refresh_from_db()
    bring(ENTRY)
    screening.screen_due(now=NOW)
    screening.check_new_business(client)
    with pytest.raises(screening.UnableToDeal, match="waits for compliance"):
        screening.check_money_out(client)
    version = loan.margin_account.version
    match = ScreeningMatch.objects.filter(client=client, subject="client").get()
    matches.decide(match, is_true=True, reason="it is him", by=cora, now=NOW)
    loan.margin_account.refresh_from_db()
    assert loan.margin_account.version > version, "permits that were issued before end"
    with pytest.raises(offers.UnableToQuote, match="is stopped by compliance"):
        offers.quote(
            client=client,
            product=loan.product,
            principal=loan.principal,
            annual_rate=loan.annual_rate,
            maturity_date=loan.maturity_date,
            quoted_until=NOW + timedelta(hours=1),
            made_by=client.relationship_manager,
            now=NOW,
        )
    with pytest.raises(screening.UnableToDeal, match="is stopped by compliance"):
        withdrawals.request(
            client,
            asset("USD"),
            loan.principal,
            destination="x",
            purpose="release",
            maker=cora,
            checker=client.relationship_manager,
            book=loan.book,
            key="k",
            now=NOW,
        )


def test_two_persons_clear_a_confirmed_match(bring: Bring, cora: User, client: Client) -> None:
    bring(ENTRY)
    screening.screen_due(now=NOW)
    match = only()
    for who, words in ((staff("hugo", Role.RISK_HEAD), "role compliance"),):
        with pytest.raises(access.UnableToAccess, match=words):
            matches.decide(match, is_true=True, reason="x", by=who, now=NOW)
    for reason, words in ((" ", "say why"), ("x" * 401, "has 401 characters")):
        with pytest.raises(matches.UnableToDecide, match=words):
            matches.decide(match, is_true=True, reason=reason, by=cora, now=NOW)
    with pytest.raises(matches.UnableToDecide, match="not a confirmed match"):
        matches.ask_to_clear(match, reason="x", maker=cora, now=NOW)
    match = matches.decide(match, is_true=True, reason="passport", by=cora, now=NOW)
    with pytest.raises(matches.UnableToDecide, match="decided already"):
        matches.decide(match, is_true=False, reason="x", by=cora, now=NOW)
    asked = matches.ask_to_clear(match, reason="a licence", maker=cora, now=NOW)
    with pytest.raises(matches.UnableToDecide, match="asked for already"):
        matches.ask_to_clear(match, reason="x", maker=cora, now=NOW)
    with pytest.raises(approvals.UnableToApprove, match="can not decide it"):
        approvals.decide(asked, checker=cora, approve=True, now=NOW)
    second = staff("casper", Role.COMPLIANCE)
    approvals.decide(Approval.objects.get(pk=asked.pk), checker=second, approve=True, now=NOW)
    match.refresh_from_db()
    assert (match.state, match.clear_maker, match.clear_checker) == (_State.CLEARED, cora, second)
    assert screening.standing(client).clear


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"state": "cleared"}, "match_cleared_by_maker_and_checker"),
        ({"state": "cleared", "clear_maker": 1, "clear_checker": 1}, "match_cleared_by_maker_and_checker"),
        ({"state": "open"}, "can not go from true_match to open"),
        ({"state": "false_positive"}, "can not go from true_match to false_positive"),
        ({"ended_at": NOW}, "ends by two persons alone"),
        ({"reason": "another"}, "a decision is made once"),
        ({"score": 1}, "permission denied"),
    ],
)
def test_the_database_holds_a_confirmed_match(
    bring: Bring, cora: User, client: Client, change: dict[str, object], says: str
) -> None:
    bring(ENTRY)
    screening.screen_due(now=NOW)
    match = matches.decide(only(), is_true=True, reason="passport", by=cora, now=NOW)
    who = {name: cora.pk for name in ("clear_maker", "clear_checker") if name in change}
    with pytest.raises(DatabaseError, match=says), transaction.atomic():
        ScreeningMatch.objects.filter(pk=match.pk).update(**{**change, **who})


def test_a_long_list_is_held_against_many_clients_at_once(bring: Bring) -> None:
    words = [
        f"{one}{two}{three}" for one in "bdkmnrstvz" for two in ("alor", "enik", "osha") for three in ("", "ov", "im")
    ]
    total = len(words)
    name = [f"{words[n % total]} {words[n * 7 // total % total]} {n % 997}x" for n in range(4_000)]
    bring(*((n + 1, one, "") for n, one in enumerate(name)))
    ClientFactory.create_batch(20)
    assert screening.screen_due(now=NOW) >= 20
    assert screening.screen_due(now=NOW) == 0


def test_names_are_compared_before_anybody_is_locked(
    bring: Bring, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comparing takes seconds with the real lists: a payment or a call of a client does not wait for that."""
    bring(ENTRY)
    compare, locked = screening._matches, []

    def looking(*asked: Any) -> Any:
        locked.append(["FOR NO KEY UPDATE" in query["sql"] for query in queries.captured_queries])
        return compare(*asked)

    monkeypatch.setattr(screening, "_matches", looking)
    with CaptureQueriesContext(connection) as queries:
        assert screening.screen_due(now=NOW) >= 1
    assert [any(seen) for seen in locked] == [False]
    assert any("FOR NO KEY UPDATE" in query["sql"] for query in queries.captured_queries)
    assert only().client == client
