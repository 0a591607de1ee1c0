import json
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

Found = dict[str, Any]


@dataclass(frozen=True)
class Proof:
    """One long run of a command, and what has to hold of what it reports."""

    name: str
    command: tuple[str, ...]
    holds: Callable[[Found], bool]


def _whole(found: Found) -> bool:
    """Nothing is broken, nothing is unexplained, nobody was sold out of without a reason."""
    return bool(found["invariants"] == "ok" and found["pnl_residual"] == "0.00" and found["wrongful_sales"] == 0)


def _crash(found: Found) -> bool:
    """The crash had its victims, and each expired call ended in a sale or was cleared with a reason."""
    ended = found["expired_liquidated"] + found["expired_cleared"]
    return _whole(found) and found["calls"] > 0 and found["liquidations"] > 0 and 0 < found["expired"] == ended


def proofs(recordings: Path | None, *, loans: int) -> Iterator[Proof]:
    """Yield every proof that the recordings at hand allow."""
    replay = ("replay", "--json", "--loans", str(loans))
    yield Proof("may-2021", (*replay, "--scenario", "may-2021"), _crash)
    cut = ("--scenario", "may-2021", "--to", "2021-05-19T18:00", "--feed-cut", "2021-05-19T12:50..2021-05-19T13:10")
    yield Proof("may-2021, silent for 20 minutes", (*replay, *cut), _whole)
    if recordings:
        may = ("--dir", str(recordings / "crash_2021-05-19"), "--from", "2021-05-19T00:00", "--to", "2021-05-19T20:00")
        yield Proof("19 May 2021 as recorded", (*replay, *may), _crash)
        depeg = recordings / "multivenue_2023-03_usdc_depeg"
        march = ("--dir", str(depeg), "--from", "2023-03-10T20:00", "--to", "2023-03-11T12:00")
        yield Proof("USDC depeg of March 2023 as recorded", (*replay, *march), _whole)
    yield Proof("kills", ("prove_kills", "--json"), lambda found: found["invariants"] == "ok")


class Command(BaseCommand):
    help = "Run the long proofs, one after the other, and say which hold"
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--loans", type=int, default=2000, help="loans of each replayed desk")
        parser.add_argument("--json", action="store_true", help="one object on stdout and nothing else there")

    def handle(self, *args: Any, **options: Any) -> None:
        results = {}
        for proof in proofs(settings.PLIMSOLL_DATA_DIR, loans=options["loans"]):
            began = time.monotonic()
            held, found = self._prove(proof)
            results[proof.name] = {"holds": held, **found}
            if not options["json"]:
                word = "holds" if held else "FAILS"
                self.stdout.write(f"{word}  {proof.name} ({time.monotonic() - began:.0f} s)\n    {json.dumps(found)}")
        if options["json"]:
            self.stdout.write(json.dumps(results))
        elif settings.PLIMSOLL_DATA_DIR is None:
            self.stdout.write("No recordings here, so those of 2021 and 2023 were not replayed: see PLIMSOLL_DATA_DIR.")
        failed = [name for name, result in results.items() if not result["holds"]]
        if failed:
            raise CommandError(f"these proofs fail: {', '.join(failed)}")

    def _prove(self, proof: Proof) -> tuple[bool, Found]:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "manage.py", *proof.command],
            cwd=settings.BASE_DIR,
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            found: Found = json.loads(done.stdout)
        except ValueError:
            return False, {"said": done.stderr[-2000:]}
        return done.returncode == 0 and proof.holds(found), found
