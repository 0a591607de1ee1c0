"""What clients and the desk are told about margin: notices, numbered events and the evidence of each step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from lending import events, notices
from lending.models import Client, Event, Loan, Notice, User
from lending.notices import Letter
from risk.cures import Demand
from risk.exposures import AccountFacts
from risk.incidents import CONSOLE
from risk.models import CallEvent, MarginCall

HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of a call: its kind and facts, who took it, and the sentence that announces it, if it is announced."""

    call: MarginCall
    kind: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    actor: User | None = None
    public: str = ""


def percent(ratio: Decimal) -> str:
    """Return a ratio as people read it: 0.7123 is 71.23 %."""
    return "infinite" if ratio.is_infinite() else f"{ratio * HUNDRED:.2f} %"


def amount(value: Decimal, code: str) -> str:
    """Return an amount with its asset, without the zeros of its column."""
    plain = f"{value:,f}"
    return f"{plain.rstrip('0').rstrip('.') if '.' in plain else plain} {code}"


def instant(at: datetime | None, client: Client) -> str:
    """Return an instant in UTC and in the client's own zone."""
    if at is None:
        return "not running yet: no receipt"
    there = at.astimezone(ZoneInfo(client.time_zone))
    return f"{at:%Y-%m-%d %H:%M:%S} UTC ({there:%Y-%m-%d %H:%M:%S} {client.time_zone})"


def duration(seconds: int) -> str:
    """Return a length of time in hours and minutes."""
    hours, rest = divmod(seconds, 3600)
    return f"{hours} h {rest // 60} min"


def issued(call: MarginCall, facts: AccountFacts, wanted: Demand, *, opening: int) -> Letter:
    """Return what tells a client that a call stands, what cures it and how long there is; once for each opening."""
    terms = facts.terms
    level = percent(terms.margin_call_ltv)
    lines = [
        f"The LTV of your margin account is {percent(call.ltv)}, above the level of {level}.",
        "",
        "Either of these cures the call:",
        f"  pay {amount(wanted.cash, wanted.asset.code)}",
        *(f"  or add {amount(units, asset.code)} of collateral" for asset, units, _price in wanted.collateral),
        "Parts of several add up.",
        "",
        f"Time to cure: {duration(call.cure_period_s)} from receipt of this notice.",
        f"Accelerated above {percent(terms.accelerated_ltv)}: {duration(terms.accelerated_cure_period_s)} at most.",
        f"Above {percent(terms.liquidation_ltv)} collateral is sold without waiting.",
    ]
    return Letter(
        client=facts.account.client,
        kind="margin_call",
        subject=f"Margin call: pay {amount(wanted.cash, wanted.asset.code)} or add collateral",
        body="\n".join(lines),
        key=f"call:{call.public_id}:{opening}",
        margin_account=facts.account,
    )


def warning(facts: AccountFacts, *, now: datetime) -> Letter:
    """Return what tells a client, at most once a day, that the account has passed its warning level."""
    return Letter(
        client=facts.account.client,
        kind="margin_warning",
        subject=f"Your LTV is above {percent(facts.terms.warning_ltv)}",
        body=f"The LTV of your margin account has passed the warning level of {percent(facts.terms.warning_ltv)}. "
        f"A margin call is made above {percent(facts.terms.margin_call_ltv)}.",
        key=f"warning:{facts.account.public_id}:{now:%Y-%m-%d}",
        margin_account=facts.account,
    )


def later(call: MarginCall, kind: str, subject: str, body: str, *, key: str) -> Letter:
    """Return what tells a client about a later step of a call."""
    return Letter(
        client=call.client,
        kind=kind,
        subject=subject,
        body=body,
        key=f"call:{call.public_id}:{key}",
        margin_account=call.margin_account,
    )


def _moves(loan: Loan) -> str:
    """Return in words how a rate that is offered will change."""
    first = f" until its first reset, as it is {loan.how_it_floats}," if loan.floats else ""
    return first + (f" and {loan.how_it_steps_up}," if loan.how_it_steps_up else "")


def offered(loan: Loan, *, now: datetime) -> None:
    """Tell a client that an offer waits for a decision."""
    terms = loan.margin_account.terms
    until = f"{loan.maturity_date:%d %b %Y}" if loan.has_fixed_end else f"either side ends it with {loan.notice}"
    offer = Letter(
        client=loan.client,
        kind="loan_offer",
        subject=f"An offer to you: {amount(loan.principal, loan.asset.code)}",
        body=f"You are offered {amount(loan.principal, loan.asset.code)} at {percent(loan.annual_rate)} a year"
        f"{_moves(loan)} until {until}, against collateral: an LTV of {percent(terms.initial_ltv)} at most when it is "
        f"paid out. It stands until {instant(loan.quoted_until, loan.client)}. Sign in to read its terms and to accept "
        "them.",
        key=f"offer:{loan.public_id}",
        margin_account=loan.margin_account,
    )
    notices.enqueue([offer], now=now)


def told(call: MarginCall, kind: str, subject: str, body: str, *, key: str, now: datetime) -> Notice:
    """Tell a client about a later step of a call."""
    return notices.enqueue([later(call, kind, subject, body, key=key)], now=now)[0]


def record(
    call: MarginCall,
    kind: str,
    *,
    now: datetime,
    facts: Mapping[str, Any] | None = None,
    actor: User | None = None,
    public: str = "",
) -> None:
    """
    Write down a step of a call with its facts, and announce it to the console and the client when it has a sentence.
    """
    record_many([Step(call=call, kind=kind, facts=facts or {}, actor=actor, public=public)], now=now)


def record_many(steps: Sequence[Step], *, now: datetime) -> None:
    """Write down steps of calls as `record` does, in their order and in two statements."""
    CallEvent.objects.bulk_create(
        CallEvent(
            client_id=step.call.client_id,
            call=step.call,
            kind=step.kind,
            actor=step.actor,
            facts=dict(step.facts),
            happened_at=now,
        )
        for step in steps
    )
    Event.objects.bulk_create(
        events.new(
            stream,
            f"call_{step.kind}",
            {"call": str(step.call.public_id), "summary": step.public},
            client_id=step.call.client_id,
            now=now,
        )
        for step in steps
        if step.public
        for stream in (CONSOLE, client_stream(step.call.client))
    )


def client_stream(client: Client) -> str:
    """Return the name of the stream that a client's own pages follow."""
    return f"client:{client.public_id.hex}"
