from pathlib import Path

import pytest

from sharding.errors import UsageError
from training.evaluation.inputs import Input, find_inputs


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures in folders, and what is none, in the current folder."""
    names = ("b.JPG", "a/x.jpg", "a/x.depth.png", "a/x.view.png", "a/.hidden.jpg", "c/x.png", "c/d/y.tiff", "notes.txt")
    for name in names:
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(images: list[str], out: str = "out") -> list[tuple[str, str]]:
    return [(str(one.file), one.name) for one in find_inputs(images, out)]


def test_a_file_is_taken_whatever_its_name_and_called_by_its_stem(tree: Path) -> None:
    assert names(["photos/c/x.png", "photos/notes.txt"]) == [("photos/c/x.png", "x"), ("photos/notes.txt", "notes")]


def test_a_folder_gives_all_pictures_below_sorted_by_their_paths_in_it(tree: Path) -> None:
    wanted = [("a/x.jpg", "a/x"), ("b.JPG", "b"), ("c/d/y.tiff", "c/d/y"), ("c/x.png", "c/x")]
    assert names(["photos"]) == [(f"photos/{file}", name) for file, name in wanted]
    assert names([str(tree / "photos")]) == [(str(tree / "photos" / file), name) for file, name in wanted]
    assert names(["photos/"]) == names(["photos"]) == names(["./photos"])


def test_a_pattern_gives_what_it_matches_by_the_paths_behind_its_fixed_part(tree: Path) -> None:
    assert names(["photos/*/x.*"]) == [("photos/a/x.jpg", "a/x"), ("photos/c/x.png", "c/x")]
    assert names(["photos/c/*.png"]) == [("photos/c/x.png", "x")]
    assert names(["photos/[bc]*"]) == [
        ("photos/b.JPG", "b"),
        ("photos/c/d/y.tiff", "c/d/y"),
        ("photos/c/x.png", "c/x"),
    ]
    assert [name for _, name in names(["**/y.tiff"])] == ["photos/c/d/y"]


def test_a_path_that_exists_is_no_pattern(tree: Path) -> None:
    (tree / "a[1].jpg").touch()
    assert names(["a[1].jpg"]) == [("a[1].jpg", "a[1]")]


def test_results_inside_the_folder_are_not_images_again(tree: Path) -> None:
    (tree / "photos" / "depth").mkdir()
    (tree / "photos" / "depth" / "z.png").touch()
    assert ("photos/depth/z.png", "depth/z") in names(["photos"])
    assert names(["photos"], "photos/depth") == [one for one in names(["photos"]) if "depth" not in one[0]]
    assert len(names(["photos"], "photos")) == 5


def test_an_image_that_is_given_twice_is_predicted_once(tree: Path) -> None:
    assert find_inputs(["photos/a/x.jpg", "photos/a", "photos/a/*.jpg"], "out") == [Input(Path("photos/a/x.jpg"), "x")]


def test_results_of_one_name_are_refused(tree: Path) -> None:
    with pytest.raises(UsageError, match=r"several images are called x, .*or give a folder above them"):
        find_inputs(["photos/a/x.jpg", "photos/c/x.png"], "out")
    (tree / "photos" / "a" / "x.png").touch()
    with pytest.raises(UsageError, match="several images are called a/x,"):
        find_inputs(["photos"], "out")


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (
            "photos/a/y.jpg",
            r"photos/a/y\.jpg: expected an image file, a folder or a pattern, found nothing; did you mean",
        ),
        ("photos/*.bmp", r"photos/\*\.bmp: expected pictures \(\.bmp, .*\), found none"),
        ("empty", r"empty: expected pictures .*, found none"),
    ],
)
def test_what_gives_no_image_is_named(tree: Path, image: str, said: str) -> None:
    (tree / "empty").mkdir()
    with pytest.raises(UsageError, match=said):
        find_inputs([image], "out")
