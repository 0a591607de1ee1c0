"""
The serialisation point: whatever changes debt, collateral or terms holds the margin account's row first.

How long a lock is waited for stands in the database settings (lock_timeout); it is never for ever.
"""

import copy
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import F, QuerySet

from lending.models import Book, Client, LadderTerms, Loan, MarginAccount, PledgeForm, PledgeTerms

HOUSE_BOOK = "house"


def lock(margin_account_id: int) -> MarginAccount:
    """Return the margin account, locked until the transaction ends."""
    return (
        MarginAccount.objects.select_for_update(of=("self",))
        .select_related("client", "terms", "pledge_terms")
        .get(pk=margin_account_id)
    )


def lock_many(margin_account_ids: Iterable[int], *, skip_locked: bool = False) -> list[MarginAccount]:
    """Return margin accounts, locked in the order of their keys so that two callers never wait for each other."""
    rows = MarginAccount.objects.select_for_update(of=("self",), skip_locked=skip_locked)
    return list(rows.filter(pk__in=set(margin_account_ids)).order_by("pk"))


def touch(*margin_accounts: MarginAccount) -> None:
    """Raise the versions of locked margin accounts: permits on the old ones end, warm books load them again."""
    touch_many(account.pk for account in margin_accounts)
    for account in margin_accounts:
        account.version += 1


def touch_many(margin_account_ids: Iterable[int]) -> None:
    """Raise the versions of locked margin accounts."""
    MarginAccount.objects.filter(pk__in=set(margin_account_ids)).update(version=F("version") + 1)


def with_transfers(terms: LadderTerms, *, minimum_transfer: Decimal, call_rounding: Decimal) -> LadderTerms:
    """
    Return a ladder with other amounts of its calls, in USD: the same where they are the same, else one to be `kept`.

    It is for the one account whose offer names it, and no preset.
    """
    if (terms.minimum_transfer, terms.call_rounding) == (minimum_transfer, call_rounding):
        return terms
    own = copy.copy(terms)
    own.pk, own.is_preset = None, False
    own.minimum_transfer, own.call_rounding = minimum_transfer, call_rounding
    return own


def kept(terms: LadderTerms, figures: Mapping[str, Any]) -> LadderTerms:
    """Return the row of a ladder with exactly these figures: the given one where it has them, else one of its own."""
    if any(Decimal(getattr(terms, name)) != value for name, value in figures.items()):
        terms = copy.copy(terms)
        terms.pk, terms.is_preset = None, False
        for name, value in figures.items():
            setattr(terms, name, value)
    if terms.pk is None:
        terms.save(force_insert=True)
    return terms


def unfit(terms: LadderTerms) -> str:
    """Return why figures make no ladder, in words; "" where they make one."""
    try:
        terms.clean_fields()
        terms.validate_constraints()
    except ValidationError as refused:
        return "; ".join(words.rstrip(".") for words in refused.messages)
    return ""


def differs(terms: LadderTerms, other: LadderTerms) -> str:
    """Return the name of the first figure in which two ladders differ; "" when they run alike."""
    beside = {"id", "name", "is_preset"}
    names = [field.name for field in LadderTerms._meta.concrete_fields if field.name not in beside]
    unlike = [name for name in names if Decimal(getattr(terms, name)) != Decimal(getattr(other, name))]
    return unlike[0].replace("_", " ") if unlike else ""


def later(terms: LadderTerms, other: LadderTerms) -> list[str]:
    """Return where a ladder calls or sells later than another: at its levels, or by its clocks."""
    clocks = ("cure_period_s", "accelerated_cure_period_s", "final_wait_s", "gap_limit")
    at = [name for (name, level), (_, own) in zip(terms.levels, other.levels, strict=True) if level > own]
    at += ["LTV when it is paid out"] if terms.initial_ltv > other.initial_ltv else []
    slow = [name for name in clocks if Decimal(getattr(terms, name)) > Decimal(getattr(other, name))]
    return at + [name.removesuffix("_s").replace("_", " ") for name in slow]


def pools_of(client: Client) -> QuerySet[MarginAccount]:
    """Return the pools of a client that may secure another loan, the oldest first."""
    pools = MarginAccount.objects.filter(client=client, kind=MarginAccount.Kind.POOL, frozen=False)
    return pools.select_related("terms", "client").order_by("pk")


def by_title(margin_accounts: Iterable[MarginAccount]) -> set[int]:
    """Return the keys of the margin accounts whose collateral becomes the desk's own, in one query."""
    terms = set(PledgeTerms.objects.filter(form=PledgeForm.TITLE_TRANSFER).values_list("pk", flat=True))
    return {account.pk for account in margin_accounts if account.pledge_terms_id in terms}


def book_of(margin_account: MarginAccount) -> Book:
    """Return the book in which a margin account's collateral is kept: that of its first loan, else the house's."""
    loan = margin_account.loans.order_by("pk").select_related("book").first()
    return loan.book if loan is not None else house_book()


def books_of(margin_accounts: Iterable[MarginAccount]) -> dict[int, int]:
    """Return the keys of the books of margin accounts, by the accounts' keys."""
    keys = [account.pk for account in margin_accounts]
    first = Loan.objects.filter(margin_account__in=keys).order_by("margin_account", "pk").distinct("margin_account")
    found = dict(first.values_list("margin_account_id", "book_id"))
    house = house_book().pk if len(found) < len(set(keys)) else 0
    return {key: found.get(key, house) for key in keys}


def house_book() -> Book:
    """Return the book of what belongs to no loan."""
    return Book.objects.get(code=HOUSE_BOOK)
