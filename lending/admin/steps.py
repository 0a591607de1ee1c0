"""What happens next to a loan, and who may do it."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lending import access, amendments, authority, lapses
from lending.models import Amendment, Client, Loan, LoanState, Role

PIPELINE = (LoanState.QUOTED, LoanState.ACCEPTED, LoanState.APPROVED, LoanState.COLLATERAL_PENDING)
_DOERS = {
    LoanState.ACCEPTED: frozenset({Role.RISK, Role.RISK_HEAD}),
    LoanState.APPROVED: frozenset({Role.OPERATIONS}),
    LoanState.COLLATERAL_PENDING: frozenset({Role.OPERATIONS}),
}


_GOES_BACK = ("The collateral goes back: ask for a release", "the client's manager or operations, then risk")
_AFTERWARDS = {
    LoanState.RECALLED: ("What is left of it is paid by the day on which its notice is over", "the client"),
    LoanState.ACTIVE: ("It is paid back as its schedule says, or before", "the client"),
    LoanState.MATURED: ("What pays it off is due now; a day after maturity it is in default", "the client"),
    LoanState.DEFAULTED: (
        "It bears the default rate until it is paid, or risk has its collateral sold",
        "the client, or risk and its head",
    ),
    LoanState.LIQUIDATING: ("Collateral is being sold, and what it brings is applied", "the desk"),
    LoanState.REPAID: ("The collateral goes back: ask for a release", "the client's manager or operations, then risk"),
    LoanState.RECOVERED: (
        "The collateral goes back: ask for a release",
        "the client's manager or operations, then risk",
    ),
    LoanState.WORKOUT: (
        "A shortfall is left: the client pays it, or two persons write it off",
        "the client, or risk and a head",
    ),
    LoanState.WRITTEN_OFF: (
        "It is written off: what the client still pays is recovered, or two persons close it",
        "the client, or risk and a head",
    ),
}


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done, by whom, whether the reader is one of them, and until when, if it ends."""

    words: str
    who: str
    yours: bool
    until: datetime | None = None
    stuck: bool = False


def signers_of(clients: Iterable[Client]) -> Mapping[int, Sequence[str]]:
    """Return the names of those who may sign, by the keys of their clients."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    rows = authority.signers().filter(client__in=clients)
    for row in rows.select_related("user").order_by("pk"):
        found[row.client_id].append(str(row.user))
    return found


def waits_for_a_signature(loan: Loan) -> bool:
    """Return whether the client is to sign next: an offer, or other terms that the desk has approved."""
    amendment: Mapping[str, Any] = getattr(loan, "amendment", None) or {}
    return loan.state == LoanState.QUOTED or amendment.get("state") == Amendment.State.APPROVED


def next_step(
    loan: Loan, *, signers: Mapping[int, Sequence[str]], held: Collection[Role], reader_id: int, now: datetime
) -> Step | None:
    """
    Return the next step of a loan, None when there is none.

    `signers` are the names of those who may sign, by client key; `held` are the reader's roles.
    """
    state = LoanState(loan.state)
    amendment: Mapping[str, Any] | None = getattr(loan, "amendment", None)
    if amendment and amendment["state"] in amendments.OPEN:
        return _amended(loan, amendment, signers.get(loan.client_id, ()), held, reader_id)
    if state == LoanState.QUOTED:
        return _offer(loan, signers.get(loan.client_id, ()), now)
    if state == LoanState.ACCEPTED:
        free = reader_id not in (loan.made_by_id, loan.client.relationship_manager_id)
        words, who = "Approve as the second person", f"anybody of risk but {loan.made_by}, who offered it"
    elif state == LoanState.APPROVED:
        free = True
        words, who = "Ask for the collateral", "operations"
    elif state == LoanState.COLLATERAL_PENDING:
        free = reader_id not in (loan.made_by_id, loan.approved_by_id)
        words = "The client sends the collateral; then it is checked and funded"
        who = f"operations, but not {loan.approved_by}, who approved it"
    else:
        return Step(*_AFTERWARDS[state], yours=False) if state in _AFTERWARDS else None
    return Step(words, who, yours=free and not _DOERS[state].isdisjoint(held), until=lapses.ends_at(loan))


def _amended(
    loan: Loan, row: Mapping[str, Any], signers: Sequence[str], held: Collection[Role], reader_id: int
) -> Step:
    """Return what is next about other terms of a loan that runs."""
    until = datetime.fromisoformat(row["expires_at"])
    if row["state"] == Amendment.State.PROPOSED:
        free = reader_id not in (row["maker_id"], loan.client.relationship_manager_id)
        yours = free and not access.APPROVERS.isdisjoint(held)
        who = f"anybody of risk but {row['maker']}, who proposed them"
        return Step("Approve other terms as the second person", who, yours=yours, until=until)
    if row["state"] == Amendment.State.APPROVED:
        who = " or ".join(signers) or "nobody can sign for the client"
        return Step("Sign other terms in the portal", who, yours=False, until=until)
    return Step("Other terms are agreed", "their day", yours=False, until=datetime.fromisoformat(row["from_at"]))


def _offer(loan: Loan, signers: Sequence[str], now: datetime) -> Step:
    if now >= loan.quoted_until:
        return Step("The offer has ended: make a new one", str(loan.made_by), yours=False, stuck=True)
    if not signers:
        return Step("Nobody can sign for the client: add a person", str(loan.made_by), yours=False, stuck=True)
    return Step("Accept the offer in the portal", " or ".join(signers), yours=False, until=loan.quoted_until)
