import gc

import pytest


@pytest.fixture(autouse=True)
def what_is_imported_stays():
    """A bench collects before it measures, and need not walk through all that tests import."""
    gc.freeze()
