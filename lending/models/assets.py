"""Assets, the networks that carry them, and pairs that are quoted."""

from django.db import models


class Asset(models.Model):
    """Something that is lent, pledged or held, counted in its own units."""

    class Kind(models.TextChoices):
        FIAT = "fiat"
        STABLECOIN = "stablecoin"
        CRYPTO = "crypto"

    code = models.CharField(max_length=12, unique=True)
    name = models.CharField(max_length=60)
    kind = models.CharField(max_length=12, choices=Kind.choices)
    decimals = models.PositiveSmallIntegerField(help_text="smallest unit that a transfer can move, as decimal places")

    def __str__(self) -> str:
        return self.code


class AssetNetwork(models.Model):
    """One chain or rail on which an asset moves."""

    asset = models.ForeignKey(Asset, on_delete=models.PROTECT, related_name="networks")
    chain = models.CharField(max_length=20)
    contract = models.CharField(max_length=80, blank=True)
    confirmations = models.PositiveSmallIntegerField(help_text="confirmations before a deposit counts")
    block_s = models.PositiveIntegerField(default=0, help_text="usual seconds per confirmation; 0: not known")

    class Meta:
        constraints = [models.UniqueConstraint(name="asset_network_once", fields=["asset", "chain"])]


class Pair(models.Model):
    """A price of base in units of quote, as venues publish it."""

    base = models.ForeignKey(Asset, on_delete=models.PROTECT, related_name="pairs_as_base")
    quote = models.ForeignKey(Asset, on_delete=models.PROTECT, related_name="pairs_as_quote")

    class Meta:
        constraints = [models.UniqueConstraint(name="pair_once", fields=["base", "quote"])]

    def __str__(self) -> str:
        return f"{self.base.code}-{self.quote.code}"
