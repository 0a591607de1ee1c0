"""The walks run on the paper custodian of this process."""

from tests.integration.lending.conftest import custodian

__all__ = ["custodian"]
