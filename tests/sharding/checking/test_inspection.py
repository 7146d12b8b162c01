import io

import numpy as np
import pytest
from PIL import Image

from sharding.checking.inspection import run
from sharding.config import InspectConfig, ShardDiodeConfig, ShardMegadepthConfig
from sharding.errors import UsageError
from sharding.making.create import shard_diode, shard_megadepth
from sharding.sources.published import Published


@pytest.fixture
def made(diode_source, tmp_path):
    def make(split="train", scene_type="all"):
        target = tmp_path / f"{split}-{scene_type}"
        options = {"split": split, "scene_type": scene_type, "workers": 1}
        shard_diode(ShardDiodeConfig(source=str(diode_source), set=str(target), **options))
        return str(target)

    return make


def test_counts_are_by_scene_type_scene_kind_and_size(made):
    outcome = run(InspectConfig(set=made()))
    assert outcome.data["by_scene_type"] == {"indoors": 3, "outdoor": 6}
    assert outcome.data["by_scene"] == {"00007": 9}
    assert outcome.data["by_kind"] == {"metric": 9}
    assert outcome.data["by_size"] == {"12 x 16": 9}
    assert outcome.data["samples"] == outcome.data["of"] == 9
    assert "by scene type: indoors 3, outdoor 6" in outcome.text


def test_kinds_of_megadepth_are_counted(megadepth_set):
    data = run(InspectConfig(set=megadepth_set.url)).data
    assert data["by_kind"] == megadepth_set.index["kind"].value_counts().to_dict()
    assert data["published"] is None


def test_how_images_were_shrunk_is_shown(megadepth_source, tmp_path):
    for side, target in [(8, tmp_path / "8"), (None, tmp_path / "whole")]:
        shard_megadepth(ShardMegadepthConfig(source=str(megadepth_source), set=str(target), max_side=side, workers=1))
    outcome = run(InspectConfig(set=str(tmp_path / "8")))
    assert outcome.data["shrunk"] == {"max_side": 8, "jpeg_quality": 90, "jpeg_subsampling": "4:2:0"}
    assert "images of more than 8 px were shrunk to it, as JPEG of quality 90, 4:2:0" in outcome.text
    whole = run(InspectConfig(set=str(tmp_path / "whole")))
    assert whole.data["shrunk"] is None
    assert "JPEG of quality" not in whole.text


def test_a_part_of_the_published_split_says_so(made):
    outcome = run(InspectConfig(set=made("val")))
    published = outcome.data["published"]
    assert (published["found"], published["views"]) == ({"indoors": 0, "outdoor": 2}, {"indoors": 325, "outdoor": 446})
    assert published["whole"] is False
    assert "not the whole of the published val.tar.gz: 0 of 325 indoors, 2 of 446 outdoor views" in outcome.text


@pytest.mark.parametrize(("scene_type", "views"), [("all", {"indoors": 3, "outdoor": 6}), ("indoors", {"indoors": 3})])
def test_the_whole_published_split_says_so_and_what_others_say(made, monkeypatch, scene_type, views):
    table = Published(name="train.tar.gz", views={"indoors": 3, "outdoor": 6}, note="a list has fewer")
    monkeypatch.setattr("sharding.checking.inspection.expected_views", lambda dataset, split: table)
    outcome = run(InspectConfig(set=made(scene_type=scene_type)))
    assert outcome.data["published"]["found"] == views
    assert outcome.data["published"]["whole"] is True
    assert "all views of the published train.tar.gz: 3 of 3 indoors" in outcome.text
    assert "(a list has fewer)" in outcome.text


def test_a_subset_is_not_compared_with_what_is_published(made):
    outcome = run(InspectConfig(set=made(), where="scene_type == 'indoors'"))
    assert (outcome.data["samples"], outcome.data["of"], outcome.data["published"]) == (3, 9, None)
    with pytest.raises(UsageError, match="selects none"):
        run(InspectConfig(set=made(), where="scene == 'x'"))


def test_the_contact_sheet_is_a_picture_of_the_samples(made, tmp_path):
    outcome = run(InspectConfig(set=made(), grid=str(tmp_path / "grid.png"), samples=4))
    sheet = np.asarray(Image.open(io.BytesIO((tmp_path / "grid.png").read_bytes())).convert("RGB"))
    assert min(sheet.shape[:2]) > 12
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 100
    assert outcome.data["grid"] == str(tmp_path / "grid.png")
