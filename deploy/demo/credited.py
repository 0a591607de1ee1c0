"""Conditional credit on the demo desk: a policy that two persons agreed on for tomorrow, and one that waits."""

from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

from deploy.demo import reference
from lending import approvals
from lending.models import Asset
from risk import credit_policies

#    asset, share, from how many confirmations, cap in USD, for how long
_AGREED = ("ETH", "0.5", 4, 250_000, 10 * 60, "Four blocks were never undone in our years of records.")
_WAITS = ("BTC", "0.3", 1, 500_000, 45 * 60, "A transfer in a block, from an address that we know.")


def load(*, now: datetime) -> None:
    """Ask for two policies from the next day on, and have the first approved: nothing of today counts by them."""
    tomorrow = datetime.combine(now.astimezone(UTC).date(), time.min, tzinfo=UTC) + timedelta(days=1)
    for policy, agreed in ((_AGREED, True), (_WAITS, False)):
        code, share, confirmations, cap, wait_s, reason = policy
        asked = credit_policies.ask(
            asset=Asset.objects.get(code=code), share=Decimal(share), min_confirmations=confirmations,
            cap_usd=Decimal(cap), wait_s=wait_s, reason=reason, start_at=tomorrow, maker=reference.staff("rhea"),
            now=now,
        )  # fmt: skip
        if agreed:
            approvals.decide(asked, checker=reference.staff("hugo"), approve=True, now=now)
