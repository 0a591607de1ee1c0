"""The walks run on the paper custodian of this process, and say what differs where they fail."""

import pytest

from tests.integration.lending.conftest import custodian

pytest.register_assert_rewrite("tests.invariants.walking")

__all__ = ["custodian"]
