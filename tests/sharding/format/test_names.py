import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharding.format.names import check_key, make_key


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=4))
def test_a_key_holds_only_safe_characters(fields):
    assert re.fullmatch(r"[a-z0-9_-]{1,80}", make_key(*fields))


def test_webdataset_would_not_cut_a_key():
    assert make_key("0000", "dense0", "2.5_IMG.x") == "0000_dense0_2-5_img-x"


@pytest.mark.parametrize("key", ["", "A", "a.b", "a/b", "x" * 81])
def test_what_is_no_key_is_refused(key):
    with pytest.raises(ValueError, match="key"):
        check_key(key)
