import json

import numpy as np
import pytest
from boxed_views import VIEW, cut_original_view, cut_view, draw_boxes
from measure_jpeg_quality import main

from sharding.making.encode import target_size


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("box", [(0, 0, 300, 400), (3, 5, 224, 224), (17, 40, 281, 337), (76, 176, 224, 224)])
def test_a_view_of_whole_pixels_is_that_of_lightly_train(box):
    image = noise(300, 400)
    found = cut_original_view(image, box, (300, 400))
    assert np.abs(found.astype(int) - cut_view(image, box)).max() <= 1


def test_a_box_that_ends_within_pixels_of_the_original_is_cut_there():
    """A shrunk pixel is 1.75 pixels of the original, which are 7 of the original with each pixel four times."""
    original = noise(350, 455)
    fine = original.repeat(4, axis=0).repeat(4, axis=1)
    for top, left, height, width in [(1, 2, 150, 203), (33, 5, 131, 129)]:
        found = cut_original_view(original, (top, left, height, width), (200, 260))
        wanted = cut_view(fine, (7 * top, 7 * left, 7 * height, 7 * width))
        assert np.abs(found.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("size", [(1200, 1600), (1067, 695), (224, 1600)])
def test_boxes_lie_in_the_shrunk_image_and_the_original_is_never_enlarged(size):
    height, width = target_size(size, 512)
    boxes = draw_boxes(np.random.default_rng(0), size, 512, 200)
    assert len(set(boxes)) > 20
    for top, left, tall, wide in boxes:
        assert 0 <= top <= height - tall
        assert 0 <= left <= width - wide
        assert min(tall, wide) * max(size) / 512 > VIEW - max(size) / 512  # within a pixel of the shrunk image


@pytest.mark.slow
def test_a_poorer_image_is_smaller_and_its_views_are_further_from_the_original(capsys):
    options = "--images 1 --height 300 --width 400 --sides 256 --quality 95 50 --subsampling 4:4:4 4:2:0 --boxes 3"
    assert main([*options.split(), "--repeats", "2", "--json", "--quiet"]) == 0
    plain, *rows = json.loads(capsys.readouterr().out)["rows"]
    assert (plain["quality"], plain["error"]["from_shrunk"]) == (None, 0)
    assert [(row["side"], row["quality"], row["subsampling"]) for row in rows] == [
        (256, quality, subsampling) for quality in (95, 50) for subsampling in ("4:4:4", "4:2:0")
    ]
    sizes, errors = ([row[name] for row in rows] for name in ("bytes", "error"))
    assert sizes == sorted(sizes, reverse=True)
    assert plain["error"]["mean"] < errors[0]["mean"] < errors[1]["mean"] < errors[3]["mean"]
    assert errors[0]["from_shrunk"] < errors[2]["from_shrunk"] < errors[3]["from_shrunk"]
    for row in rows:
        assert row["bytes_over_first"] == round(row["bytes"] / sizes[0], 3)
        assert row["decode_ms"]["least"] > 0
    assert rows[0]["decode_over_first"] == {"median": 1, "least": 1, "most": 1}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--images 1 --height 224 --width 300 --sides 300", "--sides 300: expected an image whose longer side exceeds"),
        ("--photos EMPTY", "EMPTY: expected .jpg files, found none"),
    ],
)
def test_what_cannot_be_measured_is_refused(tmp_path, capsys, options, said):
    assert main([*options.replace("EMPTY", str(tmp_path)).split(), "--quiet"]) == 2
    assert said.replace("EMPTY", str(tmp_path)) in capsys.readouterr().err
