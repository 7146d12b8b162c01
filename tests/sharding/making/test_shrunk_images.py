"""How images that become JPEG are encoded: chosen, recorded, and the same to the end of a set."""

import io
import json
from itertools import product

import pytest
from PIL import Image, JpegImagePlugin

from sharding.checking.verify import run as verify
from sharding.config import ShardDiodeConfig, ShardMegadepthConfig, VerifyConfig
from sharding.errors import DataError, UsageError
from sharding.making.check import check_shard
from sharding.making.create import shard_diode, shard_megadepth
from sharding.reading.shard_set import ShardSet
from tests.sharding.conftest import photo
from tests.sharding.shard_runs import break_image, content
from tests.sharding.toy_archives import files, killed_at, pack

SAMPLINGS = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}
"""As `JpegImagePlugin.get_sampling` numbers them."""

EARLIER = {"jpeg_quality": 95, "jpeg_subsampling": "4:4:4"}


def config(source, target, **options):
    settings = {"max_side": 8, "workers": 1, "shard_size": 2000} | options
    return ShardMegadepthConfig(source=str(source), set=str(target), **settings)


def make(source, target, **options):
    shard_megadepth(config(source, target, **options))
    return ShardSet(target)


def tables(quality):
    """The quantisation tables of a JPEG of this quality."""
    Image.fromarray(photo(8, 8)).save(buffer := io.BytesIO(), "JPEG", quality=quality)
    return Image.open(buffer).quantization


def stored(opened):
    """Quantisation tables and sampling of each image of a set."""
    parts = opened.reader.read_encoded(list(range(len(opened))), ("image",))
    images = [Image.open(io.BytesIO(sample["image"])) for sample in parts]
    return [(image.quantization, JpegImagePlugin.get_sampling(image)) for image in images]


def recorded(opened):
    return {name: opened.manifest.made[name] for name in EARLIER}


def forget(path):
    """Remove the options from a manifest or a plan, as one that was written before there were any."""
    made = json.loads(path.read_text())
    for name in EARLIER:
        del made.get("made", made)[name]
    path.write_text(json.dumps(made))


@pytest.mark.parametrize(("quality", "subsampling"), list(product([1, 75, 100], SAMPLINGS)))
def test_shrunk_images_are_of_the_quality_and_subsampling_that_is_given(
    megadepth_source, tmp_path, quality, subsampling
):
    opened = make(megadepth_source, tmp_path / "set", jpeg_quality=quality, jpeg_subsampling=subsampling)
    assert stored(opened) == [(tables(quality), SAMPLINGS[subsampling])] * 8
    assert recorded(opened) == {"jpeg_quality": quality, "jpeg_subsampling": subsampling}


def test_the_default_is_what_was_measured(megadepth_source, tmp_path):
    opened = make(megadepth_source, tmp_path / "set")
    assert stored(opened) == [(tables(90), SAMPLINGS["4:2:0"])] * 8
    assert recorded(opened) == {"jpeg_quality": 90, "jpeg_subsampling": "4:2:0"}


def test_images_that_are_small_enough_keep_their_bytes(megadepth_source, tmp_path):
    opened = make(megadepth_source, tmp_path / "set", max_side=16, jpeg_quality=1)
    original = (megadepth_source / "MegaDepth_v1/0000/dense0/imgs/1_a_o.jpg").read_bytes()
    row = list(opened.index["key"]).index("0000_dense0_1_a_o")
    assert opened.reader.read_encoded([row], ("image",))[0]["image"] == original


def test_a_set_of_whole_images_records_no_quality(megadepth_source, tmp_path):
    assert not make(megadepth_source, tmp_path / "set", max_side=None).manifest.made.keys() & EARLIER.keys()


@pytest.mark.parametrize(("options", "expected"), [({}, (90, "4:2:0")), (EARLIER, (95, "4:4:4"))])
def test_a_compact_set_makes_jpegs_of_its_quality_and_records_it(diode_source, tmp_path, options, expected):
    settings = {"source": str(diode_source), "split": "train", "preset": "compact", "workers": 1} | options
    shard_diode(ShardDiodeConfig(set=str(tmp_path / "set"), **settings))
    opened = ShardSet(tmp_path / "set")
    assert recorded(opened) == dict(zip(EARLIER, expected, strict=True))
    assert stored(opened) == [(tables(expected[0]), SAMPLINGS[expected[1]])] * 9


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"jpeg_quality": 90}, "--jpeg-quality"),
        ({"jpeg_subsampling": "4:2:0"}, "--jpeg-subsampling"),
        (EARLIER, "--jpeg-quality and --jpeg-subsampling"),
    ],
)
def test_quality_where_nothing_becomes_jpeg_is_refused_by_name(megadepth_source, tmp_path, options, named):
    wrong = config(megadepth_source, tmp_path / "set", max_side=None, **options)
    for refuse in (check_shard, shard_megadepth):
        with pytest.raises(UsageError, match=f"^{named}: expected with --max-side PX or --preset compact"):
            refuse(wrong)
    assert not (tmp_path / "set").exists()


@pytest.mark.slow
def test_the_bytes_depend_neither_on_workers_nor_on_kills(megadepth_source, tmp_path):
    options = {"jpeg_quality": 70, "jpeg_subsampling": "4:2:2"}
    make(megadepth_source, tmp_path / "whole", **options)
    for workers in (0, 2):
        make(megadepth_source, tmp_path / str(workers), workers=workers, **options)
        assert content(tmp_path / str(workers)) == content(tmp_path / "whole")
    for step in (3, -6):  # replacements of files; negative: after it
        target = tmp_path / f"killed {step}"
        assert killed_at(step, config("", "", **options), megadepth_source, target)
        assert not (target / "manifest.json").exists()
        make(megadepth_source, target, **options)
        assert content(target) == content(tmp_path / "whole")


def test_a_finished_set_of_another_quality_is_another_set(megadepth_source, tmp_path):
    make(megadepth_source, tmp_path / "set", jpeg_quality=70)
    make(megadepth_source, tmp_path / "set", jpeg_quality=70, jpeg_subsampling="4:2:0")  # the default, written out
    with pytest.raises(UsageError, match=r"holds another set: jpeg_quality is 70 there, 90 now;"):
        make(megadepth_source, tmp_path / "set")
    with pytest.raises(UsageError, match=r"holds another set: jpeg_subsampling is '4:2:0' there, '4:4:4' now;"):
        make(megadepth_source, tmp_path / "set", jpeg_quality=70, jpeg_subsampling="4:4:4")


@pytest.fixture(params=["folder", "archive"])
def unfinished(request, megadepth_source, tmp_path):
    """A source with a bad image, and a set of it, of quality 95 and 4:4:4, that lacks its manifest alone."""
    break_image(megadepth_source / "MegaDepth_v1/0001/dense0/imgs/1_a_o.jpg")
    source = megadepth_source if request.param == "folder" else pack(tmp_path / "x.tar", files(megadepth_source))
    with pytest.raises(DataError, match="--allow-bad is 0"):
        make(source, tmp_path / "set", **EARLIER)
    assert any((tmp_path / "set/shards").iterdir())
    return source, tmp_path / "set"


def test_an_unfinished_set_goes_on_with_its_own_quality_only(unfinished, tmp_path):
    source, target = unfinished
    before = content(target)
    with pytest.raises(
        UsageError, match="jpeg_quality is 95 there, 90 now; jpeg_subsampling is '4:4:4' there, '4:2:0' now; run it as"
    ):
        make(source, target, allow_bad=1)
    assert content(target) == before
    make(source, target, allow_bad=1, **EARLIER)
    make(source, tmp_path / "undisturbed", allow_bad=1, **EARLIER)
    assert content(target) == content(tmp_path / "undisturbed")


def test_an_unfinished_set_that_recorded_no_quality_goes_on_with_the_one_it_had(unfinished, tmp_path):
    source, target = unfinished
    forget(target / ".making/plan.json")
    with pytest.raises(UsageError, match="jpeg_quality is 95 there, 90 now; jpeg_subsampling is '4:4:4' there,"):
        make(source, target, allow_bad=1)
    assert recorded(make(source, target, allow_bad=1, **EARLIER)) == EARLIER
    make(source, tmp_path / "undisturbed", allow_bad=1, **EARLIER)
    assert content(target) == content(tmp_path / "undisturbed")


def test_a_set_that_recorded_no_quality_opens_with_the_one_it_had(megadepth_source, tmp_path):
    made = make(megadepth_source, tmp_path / "set", **EARLIER).manifest
    forget(tmp_path / "set/manifest.json")
    assert ShardSet(tmp_path / "set").manifest == made
    make(megadepth_source, tmp_path / "set", **EARLIER)  # is finished
    with pytest.raises(UsageError, match="holds another set: jpeg_quality is 95 there, 90 now"):
        make(megadepth_source, tmp_path / "set")


def test_a_set_of_any_quality_is_verified_against_its_source(megadepth_source, tmp_path):
    against = VerifyConfig(set=str(tmp_path / "set"), against=str(megadepth_source))
    make(megadepth_source, tmp_path / "set", jpeg_quality=5, jpeg_subsampling="4:2:2")
    assert verify(against).ok
    forget(tmp_path / "set/manifest.json")  # then it claims 95
    problems = [fault["problem"] for fault in verify(against).data["faults"]]
    assert problems == ["image differ from the source"] * 8


def test_a_set_that_recorded_no_quality_is_verified_against_its_source(megadepth_source, tmp_path):
    make(megadepth_source, tmp_path / "set", **EARLIER)
    forget(tmp_path / "set/manifest.json")
    assert verify(VerifyConfig(set=str(tmp_path / "set"), against=str(megadepth_source))).ok
