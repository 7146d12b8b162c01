import pytest

from sharding.errors import DataError
from sharding.sources.published import by_size, expected_views, publishes_md5, recognise

VAL, VAL_MD5 = 2_774_625_282, "5c895d09201b88973c8fe4552a67dd85"
TRAIN, TRAIN_MD5 = 81 << 30, "3a94632398fe1d002d89f11743f748b1"


@pytest.mark.parametrize(("num_bytes", "md5"), [(VAL, VAL_MD5), (TRAIN, TRAIN_MD5), (1, TRAIN_MD5)])
def test_an_archive_is_known_by_its_md5_whatever_it_is_called(num_bytes, md5):
    assert "has the published md5" in recognise("diode", "mine.tgz", num_bytes, md5)


@pytest.mark.parametrize(("name", "num_bytes"), [("val.tar.gz", VAL), ("train.tar.gz", TRAIN)])
def test_name_and_size_of_a_published_archive_with_another_md5_is_a_damaged_download(name, num_bytes):
    with pytest.raises(DataError, match=r"expected the published md5 .*, found 00ff .*download it again"):
        recognise("diode", name, num_bytes, "00ff")
    assert recognise("diode", "repacked.tar.gz", num_bytes, "00ff") is None


def test_an_archive_of_another_size_is_none_of_them():
    assert recognise("diode", "val.tar.gz", VAL + 1, "00ff") is None
    assert recognise("diode", "train.tar.gz", 82 << 30, "") is None


def test_diode_has_84_gib_in_two_archives():
    for num_bytes, name in ((VAL, "val.tar.gz"), (TRAIN, "train.tar.gz")):
        assert by_size("diode", num_bytes).name == name
    assert round((VAL + TRAIN) / 2**30, 1) == 83.6
    assert round((VAL + TRAIN) / 1e9, 1) == 89.7
    assert by_size("diode", 110 * 10**9 - VAL) is None


def test_what_was_not_hashed_is_said():
    assert "not computed" in recognise("diode", "val.tar.gz", VAL, "")
    megadepth = recognise("megadepth", "MegaDepth_v1.tar.gz", 213_461_598_257, "")
    assert megadepth == "MegaDepth_v1.tar.gz: has the published size; no checksum is published"


def test_only_diode_publishes_checksums():
    assert (publishes_md5("diode"), publishes_md5("megadepth"), publishes_md5("webdataset")) == (True, False, False)


def test_the_counts_are_those_of_the_archives_and_not_of_the_meta_file():
    assert expected_views("diode", "val").views == {"indoors": 325, "outdoor": 446}
    assert expected_views("diode", "train").views == {"indoors": 8_574, "outdoor": 16_884}
    assert (by_size("diode", VAL).samples, by_size("diode", TRAIN).samples) == (771, 25_458)
    assert expected_views("megadepth", "") is None
