"""
What a desk sets up before its first client, from one file: its books, assets, sources of prices and dealers.

A file adds what is not there yet, all of it or nothing. What stands already is left as it stands, and a file that says
something else of it is refused: prices and sales rest on these rows. Products, ladders, checklists, rules and the codes
of the general ledger have pages of their own.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import Count, DecimalField, Model
from rest_framework import serializers
from rest_framework.settings import api_settings

from lending import audit
from lending.models import Asset, AssetNetwork, Book, Pair
from otc.models import Dealer
from risk.engine.marks import USD, plain
from risk.models import AssetPolicy, PriceFeed, Source

TABLES = ("books", "assets", "sources", "dealers")
T = TypeVar("T", bound=Model)
_FINEST = 18  # decimals that an amount keeps
_LONGEST_S = 86_400


class UnableToSetUp(Exception):
    """A file can not be taken; `problems` names everything that is wrong, each by its place."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(f"nothing was set up: {len(problems):,} {'error' if len(problems) == 1 else 'errors'}")
        self.problems = problems


@dataclass(kw_only=True)
class Report:
    """How many rows a file added and how many stood already, and which assets can not have a good price yet."""

    added: int = 0
    stood: int = 0
    never_good: list[str] = field(default_factory=list)


def set_up(file: bytes, *, now: datetime, dry_run: bool = False) -> Report:
    """
    Add what a file names and is not there yet, in one transaction; a dry run then leaves everything as it was.

    Parameters
    ----------
    file : bytes
        A JSON object with a list for each of `TABLES`, in the form that `standing` returns; a list may be left out.

    Raises
    ------
    UnableToSetUp
        If anything in it is wrong, or is unlike what stands.
    """
    wanted = _read(file)
    with transaction.atomic():
        adding = _Adding(now=now)
        adding.all_of(wanted)
        if adding.problems:
            raise UnableToSetUp(adding.problems)
        adding.report.never_good = [*_never_good()]
        transaction.set_rollback(dry_run)
    return adding.report


def standing() -> dict[str, Any]:
    """Return what stands, as the object of a file that would set it up."""
    return {
        "books": _Book(Book.objects.order_by("pk"), many=True).data,
        "assets": _Asset(
            Asset.objects.select_related("policy").prefetch_related("networks").order_by("pk"), many=True
        ).data,
        "sources": _Source(
            Source.objects.prefetch_related("feeds__pair__base", "feeds__pair__quote").order_by("pk"), many=True
        ).data,
        "dealers": _Dealer(Dealer.objects.order_by("pk"), many=True).data,
    }


class _Number(serializers.DecimalField):
    """A number that is shown without the zeros its column pads it with."""

    def to_representation(self, value: Decimal) -> str:
        return plain(value) or ""


class _Row(serializers.ModelSerializer[Any]):
    """One row of a table: what its columns take, and no name that is none of theirs."""

    default_error_messages = {"invalid": "a row is an object, with its columns by name"}
    serializer_field_mapping = {**serializers.ModelSerializer.serializer_field_mapping, DecimalField: _Number}

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping) and (strange := [name for name in data if name not in self.fields]):
            known = ", ".join(self.fields)
            raise serializers.ValidationError({key: [f"is not known; known are {known}"] for key in strange})
        return super().to_internal_value(data)

    def to_representation(self, instance: Any) -> dict[str, Any]:
        # What is empty is left out, as it may be in a file.
        return {name: value for name, value in super().to_representation(instance).items() if value not in (None, "")}


_NO_SHARE = "is no ratio from 0 to 1, such as 0.15"
_SHARE = {
    "min_value": Decimal(0),
    "max_value": Decimal(1),
    "error_messages": {"min_value": _NO_SHARE, "max_value": _NO_SHARE},
}
_ABOVE = {"min_value": Decimal("0.000000000001"), "error_messages": {"min_value": "is not above zero"}}
_ONCE = {"validators": ()}  # a row that stands already is compared, not refused


class _Book(_Row):
    class Meta:
        model = Book
        fields = ("code", "name")
        extra_kwargs = {"code": _ONCE}


class _Network(_Row):
    class Meta:
        model = AssetNetwork
        fields = ("chain", "contract", "confirmations", "block_s")


class _Policy(_Row):
    class Meta:
        model = AssetPolicy
        exclude = ("id", "asset", "halted_at")
        extra_kwargs = {
            "quorum": {"min_value": 1},
            **dict.fromkeys(("clamp", "max_deviation", "max_spread", "band", "collar"), _SHARE),
            **dict.fromkeys(("half_spread", "execution_fee"), _SHARE),
            **dict.fromkeys(("daily_volatility", "impact_y", "daily_volume_usd"), _ABOVE),
            **dict.fromkeys(("lot", "clip_usd", "throttle_usd_per_minute", "upper_bound"), _ABOVE),
            "lower_bound": {"min_value": Decimal(0)},
            "block_window_s": {"min_value": 1, "max_value": _LONGEST_S},
        }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        upper = attrs.get("upper_bound")
        if upper is not None and upper <= attrs.get("lower_bound", 0):
            raise serializers.ValidationError({"upper_bound": "is not above lower_bound: every price would halt it"})
        return attrs


class _Asset(_Row):
    networks = _Network(many=True, allow_empty=False)
    policy = _Policy(required=False)

    class Meta:
        model = Asset
        fields = ("code", "name", "kind", "decimals", "networks", "policy")
        extra_kwargs = {
            "code": _ONCE,
            "decimals": {"max_value": _FINEST},
            "kind": {"error_messages": {"invalid_choice": f"'{{input}}' is none of {', '.join(Asset.Kind.values)}"}},
        }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("policy" in attrs) == (attrs["code"] == USD):
            words = (
                "is not wanted: everything is priced in it" if "policy" in attrs else "is missing: how is it priced?"
            )
            raise serializers.ValidationError({"policy": words})
        return attrs


class _Feed(_Row):
    base = serializers.CharField(source="pair.base.code")
    quote = serializers.CharField(source="pair.quote.code")

    class Meta:
        model = PriceFeed
        fields = ("base", "quote", "weight", "stale_after_s")
        extra_kwargs = {"weight": _ABOVE, "stale_after_s": {"min_value": 1, "max_value": _LONGEST_S}}


class _Source(_Row):
    feeds = _Feed(many=True, allow_empty=False)

    class Meta:
        model = Source
        fields = ("code", "name", "synthetic", "feeds")
        extra_kwargs = {"code": _ONCE}


class _Dealer(_Row):
    class Meta:
        model = Dealer
        fields = ("code", "name", "simulated", "settlement_address")
        extra_kwargs = {"code": _ONCE}


class _File(serializers.Serializer[Any]):
    """Each table with the rows that are to stand in it; a later one may name rows of an earlier."""

    default_error_messages = {"invalid": f"is an object with a list for each of {', '.join(TABLES)}"}

    books = _Book(many=True, required=False)
    assets = _Asset(many=True, required=False)
    sources = _Source(many=True, required=False)
    dealers = _Dealer(many=True, required=False)


class _Adding:
    """Rows on their way in: what is not there is added, what stands is held against what is wanted."""

    def __init__(self, *, now: datetime) -> None:
        self._now, self.report, self.problems = now, Report(), list[str]()

    def all_of(self, wanted: Mapping[str, Any]) -> None:
        for row in wanted.get("books", ()):
            self._one(f"books, {row['code']}", Book, row, code=row.pop("code"))
        for row in wanted.get("assets", ()):
            self._asset(row)
        for row in wanted.get("sources", ()):
            self._source(row)
        for row in wanted.get("dealers", ()):
            self._one(f"dealers, {row['code']}", Dealer, row, code=row.pop("code"))

    def _asset(self, row: dict[str, Any]) -> None:
        place, networks, policy = f"assets, {row['code']}", row.pop("networks"), row.pop("policy", None)
        asset = self._one(place, Asset, row, code=row.pop("code"))
        for network in networks:
            chain = network.pop("chain")
            self._one(f"{place}, network {chain}", AssetNetwork, network, asset=asset, chain=chain)
        if policy is not None:
            self._one(f"{place}, policy", AssetPolicy, policy, asset=asset)

    def _source(self, row: dict[str, Any]) -> None:
        place, feeds = f"sources, {row['code']}", row.pop("feeds")
        source = self._one(place, Source, row, code=row.pop("code"))
        for feed in feeds:
            codes = feed.pop("pair")
            base, quote = codes["base"]["code"], codes["quote"]["code"]
            named, known = f"{place}, {base}-{quote}", Asset.objects.in_bulk([base, quote], field_name="code")
            if missing := [code for code in (base, quote) if code not in known]:
                self.problems.append(f"{named}: no asset is called {' or '.join(missing)}: name it among the assets")
            elif base == quote:
                self.problems.append(f"{named}: an asset has no price in itself")
            else:
                pair, _ = Pair.objects.get_or_create(base=known[base], quote=known[quote])
                self._one(named, PriceFeed, feed, source=source, pair=pair)

    def _one(self, place: str, table: type[T], values: Mapping[str, Any], **key: Any) -> T:
        """Return the row that stands under a key, added where none does."""
        found = table._default_manager.filter(**key).first()
        if found is None:
            found = table._default_manager.create(**key, **values)
            after = {name: str(value) for name, value in values.items()}
            audit.write("set_up", actor=None, obj=found, after=after, now=self._now)
            self.report.added += 1
            return found
        self.report.stood += 1
        unlike = [f"{name} {getattr(found, name)}" for name, value in values.items() if getattr(found, name) != value]
        if unlike:
            words = f"it stands with {', '.join(unlike)}: a file adds rows and changes none"
            self.problems.append(f"{place}: {words}")
        return found


def _read(file: bytes) -> dict[str, Any]:
    """Return what a file wants, table by table, each value as its column takes it."""
    try:
        said = json.loads(file, parse_float=Decimal)
    except (ValueError, RecursionError) as problem:
        raise UnableToSetUp([f"the file is no JSON: {problem}"]) from problem
    if isinstance(said, dict) and (strange := [name for name in said if name not in TABLES]):
        raise UnableToSetUp([f"{name}: is no table; there are {', '.join(TABLES)}" for name in strange])
    tables = _File(data=said)
    if not tables.is_valid():
        raise UnableToSetUp([*_said(tables.errors, said, [])])
    return dict(tables.validated_data)


def _said(errors: Any, said: Any, place: list[str]) -> Iterator[str]:
    """Yield each error under a place with the way there: tables and columns by name, rows by code or number."""
    if not isinstance(errors, Mapping):
        yield from (f"{', '.join(place) or 'the file'}: {words}" for words in errors)
        return
    for name, found in errors.items():
        if name == api_settings.NON_FIELD_ERRORS_KEY:
            yield from _said(found, said, place)
        elif isinstance(name, int):
            row = said[name]
            code = row.get("code") if isinstance(row, Mapping) else None
            yield from _said(found, row, [*place, str(code or f"row {name + 1}")])
        else:
            yield from _said(found, said.get(name), [*place, name])


def _never_good() -> Iterator[str]:
    """Yield what would be in the way of a good price of an asset: fewer live sources than its policy wants."""
    published = PriceFeed.objects.filter(source__enabled=True).values_list("pair__base")
    sources = dict(published.annotate(Count("source", distinct=True)))
    for policy in AssetPolicy.objects.select_related("asset").order_by("pk"):
        count = sources.get(policy.asset_id, 0)
        if count < policy.quorum:
            yield f"{policy.asset.code}: its policy wants {policy.quorum} sources, and {count} publish a price of it"
