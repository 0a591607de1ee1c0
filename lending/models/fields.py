"""Column types that every app shares, so that money, rates and instants look the same in every table."""

from typing import Any

from django.db import models

from lending import ids


class AmountField(models.DecimalField):
    """An exact amount of one asset: numeric(38, 18), always beside its asset."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.update(max_digits=38, decimal_places=18)
        super().__init__(*args, **kwargs)


class RatioField(models.DecimalField):
    """A dimensionless ratio (0.65 means 65 %) or an annual rate as a fraction: numeric(20, 12)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.update(max_digits=20, decimal_places=12)
        super().__init__(*args, **kwargs)


class PublicIdField(models.UUIDField):
    """The only identifier that leaves the house: random, unique, in every URL and message."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.update(default=ids.new, unique=True, editable=False)
        super().__init__(*args, **kwargs)
