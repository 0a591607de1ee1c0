"""Who marks a shard group: a lease in wall time, and a fencing token that outlives it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import F, Q

from risk.models import ShardLease

LEASE_S = 30


class UnableToFence(RuntimeError):
    """Another process has taken the shard group over: what this one computed may no longer be written."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to mark a shard group, good until it lapses in wall time or somebody else takes it after that."""

    group: int
    holder: str
    fence: int


def acquire(group: int, holder: str, *, wall_now: datetime, lease_s: int = LEASE_S) -> Lease | None:
    """
    Return the lease of a shard group, or None while somebody else holds it.

    The holder's own lease is prolonged and keeps its token; a change of holder raises the token by one, so that a
    former holder that wakes up later writes nothing.
    """
    until = wall_now + timedelta(seconds=lease_s)
    row = ShardLease.objects.filter(group=group)
    if not row.filter(holder=holder, wall_expires_at__gt=wall_now).update(wall_expires_at=until):
        ShardLease.objects.bulk_create([ShardLease(group=group)], ignore_conflicts=True)
        free = Q(wall_expires_at=None) | Q(wall_expires_at__lte=wall_now)
        if not row.filter(free).update(holder=holder, fence=F("fence") + 1, wall_expires_at=until):
            return None
    return Lease(group, holder, row.filter(holder=holder).values_list("fence", flat=True).get())


def release(lease: Lease, *, wall_now: datetime) -> None:
    """Give a lease back before it lapses, so that a successor need not wait."""
    mine = ShardLease.objects.filter(group=lease.group, holder=lease.holder, fence=lease.fence)
    mine.update(wall_expires_at=wall_now)


def begin_round(group: int, *, now: datetime, fence: int | None) -> int | None:
    """
    Note that a round is being marked and return the fencing token to write with, or None if it was marked already.

    With no fence given the caller is the only marker there is, and writes with the token as it stands.

    Raises
    ------
    UnableToFence
        If a younger token than the given one is in the row.
    """
    row = ShardLease.objects.filter(group=group)
    stored = row.values_list("fence", flat=True).first()
    if stored is None:
        ShardLease.objects.bulk_create([ShardLease(group=group)], ignore_conflicts=True)
        stored = row.values_list("fence", flat=True).get()
    if fence is not None and stored > fence:
        raise UnableToFence(f"group {group} is marked under token {stored}, not {fence}")
    token = stored if fence is None else fence
    fresh = row.filter(Q(last_round_at=None) | Q(last_round_at__lt=now), fence__lte=token)
    return token if fresh.update(last_round_at=now, fence=token) else None
