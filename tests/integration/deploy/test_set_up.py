"""A desk that is no demo sets its assets, prices and dealers up from one file; what is wrong with it is all named."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from deploy import set_up
from lending.models import Asset, AuditRecord, Book, Pair
from otc.models import Dealer
from risk.models import AssetPolicy, PriceFeed
from tests import bad_input

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
POLICY = {
    "quorum": 1, "daily_volume_usd": "3000000000", "daily_volatility": "0.06", "lot": "0.0001", "clip_usd": 5000000,
    "throttle_usd_per_minute": 25000000,
}  # fmt: skip


def desk() -> dict[str, Any]:
    return {
        "books": [{"code": "otc", "name": "OTC lending"}],
        "assets": [
            {
                "code": "USD", "name": "US dollar", "kind": "fiat", "decimals": 2,
                "networks": [{"chain": "fedwire", "confirmations": 0}],
            },
            {
                "code": "BTC", "name": "Bitcoin", "kind": "crypto", "decimals": 8,
                "networks": [{"chain": "bitcoin", "confirmations": 3, "block_s": 600}], "policy": dict(POLICY),
            },
        ],
        "sources": [
            {"code": "kraken", "name": "Kraken", "feeds": [{"base": "BTC", "quote": "USD", "stale_after_s": 30}]},
        ],
        "dealers": [{"code": "harbour", "name": "Harbour OTC", "settlement_address": "bc1q-harbour"}],
    }  # fmt: skip


def put(file: Any, **options: bool) -> set_up.Report:
    return set_up.set_up(json.dumps(file).encode(), now=NOW, **options)


def test_a_file_is_set_up_once_and_adds_what_is_new() -> None:
    assert put(desk()) == set_up.Report(added=9, stood=0)
    assert AssetPolicy.objects.get(asset__code="BTC").clip_usd == Decimal(5_000_000)
    assert str(PriceFeed.objects.get().pair) == "BTC-USD"
    assert AuditRecord.objects.filter(action="set_up").count() == 9
    more = desk()
    more["dealers"].append({"code": "northgate", "name": "Northgate", "settlement_address": "bc1q-northgate"})
    assert put(more) == set_up.Report(added=1, stood=9)
    assert Dealer.objects.count() == 2


def test_what_stands_is_shown_as_a_file_that_sets_it_up() -> None:
    put(desk())
    out = StringIO()
    call_command("set_up", stdout=out)
    shown = json.loads(out.getvalue())
    assert put(shown) == set_up.Report(added=0, stood=10)  # the house's own book too
    [_, bitcoin] = shown["assets"]
    assert (bitcoin["policy"]["lot"], bitcoin["policy"]["band"]) == ("0.0001", "0.1")
    assert "upper_bound" not in bitcoin["policy"]


def test_a_dry_run_says_the_same_and_adds_nothing(tmp_path: Path) -> None:
    file, out = tmp_path / "desk.json", StringIO()
    file.write_text(json.dumps(desk()))
    call_command("set_up", str(file), "--dry-run", stdout=out)
    assert out.getvalue() == "9 rows would be added, 0 stood already\n"
    assert not Asset.objects.exists()
    call_command("set_up", str(file), stdout=out)
    assert Asset.objects.count() == 2


def test_it_is_said_which_asset_can_not_have_a_good_price(tmp_path: Path) -> None:
    file, wanted, err = tmp_path / "desk.json", desk(), StringIO()
    wanted["assets"][1]["policy"]["quorum"] = 3
    file.write_text(json.dumps(wanted))
    call_command("set_up", str(file), stderr=err, stdout=StringIO())
    assert "no good price yet: BTC: its policy wants 3 sources, and 1 publish a price of it" in err.getvalue()


def change(*way: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def do(file: Any) -> None:
        for step in way[:-1]:
            file = file[step]
        file[way[-1]] = to

    return do


WRONG: tuple[tuple[str, Callable[[dict[str, Any]], None]], ...] = (
    ("a table that is none", change("products", to=[])),
    ("a table that is no list", change("assets", to={})),
    ("a row that is none", change("books", 0, to="otc")),
    ("a column that is not known", change("assets", 1, "policy", "colar", to="0.05")),
    ("no name", change("books", 0, to={"code": "otc"})),
    ("a kind that is none", change("assets", 1, "kind", to="coin")),
    ("decimals 19", change("assets", 1, "decimals", to=19)),
    ("no network", change("assets", 1, "networks", to=[])),
    ("confirmations “-1”", change("assets", 1, "networks", 0, "confirmations", to=-1)),
    ("dollars with a policy", change("assets", 0, "policy", to=dict(POLICY))),
    ("an asset without a policy", change("assets", 1, to={**desk()["assets"][1], "code": "ETH", "policy": None})),
    ("quorum 0", change("assets", 1, "policy", "quorum", to=0)),
    ("band 15 for 15 %", change("assets", 1, "policy", "band", to=15)),
    ("lot 0", change("assets", 1, "policy", "lot", to=0)),
    ("clip “much”", change("assets", 1, "policy", "clip_usd", to="much")),
    ("bounds the wrong way round", change("assets", 1, "policy", to={**POLICY, "lower_bound": 5, "upper_bound": 4})),
    ("a feed of an asset that is not there", change("sources", 0, "feeds", 0, "base", to="DOGE")),
    ("a price in itself", change("sources", 0, "feeds", 0, "base", to="USD")),
    ("weight 0", change("sources", 0, "feeds", 0, "weight", to=0)),
    ("a dealer without an address", change("dealers", 0, "settlement_address", to="")),
    ("a row twice, and unlike", lambda file: file["books"].append({"code": "otc", "name": "Another"})),
)


def test_all_that_is_wrong_is_named_and_nothing_is_added(tmp_path: Path) -> None:
    read: dict[str, list[str]] = {}
    file = tmp_path / "desk.json"
    for case, spoil in WRONG:
        wanted = desk()
        spoil(wanted)
        file.write_text(json.dumps(wanted))
        read[case] = _refused(file)
    for case, content in (("no JSON", b"{"), ("no object", b"[]"), ("no text", b"\xff\xfe\xfa")):
        file.write_bytes(content)
        read[case] = _refused(file)
    put(desk())
    wanted = desk()
    change("assets", 1, "decimals", to=9)(wanted)
    change("assets", 1, "policy", "quorum", to=2)(wanted)
    file.write_text(json.dumps(wanted))
    read["unlike what stands"] = _refused(file)
    read["a file that is not there"] = _refused(tmp_path / "gone.json")
    bad_input.stands(bad_input.COMMANDS, "set_up", read)
    assert (Book.objects.count(), Asset.objects.count(), Pair.objects.count()) == (2, 2, 1)
    assert Asset.objects.get(code="BTC").decimals == 8


def _refused(file: Path) -> list[str]:
    err = StringIO()
    with pytest.raises(CommandError) as refusal:
        call_command("set_up", str(file), stderr=err)
    return [*err.getvalue().splitlines(), str(refusal.value)]
