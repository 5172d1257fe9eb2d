"""lifetime.py: what the imports of the server run under."""

import gc

import pytest

from tikhub_mcp.stdio import lifetime


def test_garbage_is_collected_again_after_the_imports_and_after_one_that_fails() -> None:
    with lifetime.importing():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), lifetime.importing():
        raise ImportError
    assert gc.isenabled()
