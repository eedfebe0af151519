"""Which file of a folder, and of its sub-folders, belongs to which item."""

import os

import pytest

from recbole_microlens.errors import MicroLensError
from recbole_microlens.media.sources import find_covers, find_frames, holds_media


@pytest.fixture
def tree(tmp_path):
    """Return a function that makes empty files below a folder, and gives the folder."""

    def make(*names):
        for name in names:
            path = tmp_path / "media" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / "media"

    return make


def chosen(source):
    """Item -> its file, or files, by their paths below the folder."""
    return {
        item: [os.path.relpath(file, source.folder) for file in files] for item, files in source.files.items()
    }


def test_files_are_found_however_deep(tree):
    folder = tree("1.mp4", "a/2.mov", "a/b/c/3.webm", "notes.txt")
    assert chosen(find_frames(folder)) == {"1": ["1.mp4"], "2": ["a/2.mov"], "3": ["a/b/c/3.webm"]}


def test_the_file_nearest_to_the_top_wins_whatever_its_suffix(tree):
    folder = tree("z/1.avi", "a/b/1.mp4", "1.JPG", "a/1.jpg", "2.png", "2.jpg")
    assert chosen(find_frames(folder)) == {"1": ["z/1.avi"]}
    assert chosen(find_covers(folder)) == {"1": ["1.JPG"], "2": ["2.jpg"]}


def test_files_of_two_folders_equally_deep_are_ambiguous(tree):
    folder = tree("a/1.mp4", "b/1.webm", "b/2.mp4", "c/d/2.mp4")
    source = find_frames(folder)
    assert chosen(source) == {"2": ["b/2.mp4"]}
    assert source.ambiguous == {"1": [str(folder / "a/1.mp4"), str(folder / "b/1.webm")]}


def test_ready_frames_of_an_item_come_from_one_folder(tree):
    folder = tree("a/1-2.jpg", "a/1-10.jpg", "a/1-1.jpg", "a/b/1-3.jpg", "b/2-1.jpg", "c/2-2.jpg")
    source = find_frames(folder)
    assert source.kind == "frames"
    assert chosen(source) == {"1": ["a/1-1.jpg", "a/1-2.jpg", "a/1-10.jpg"]}
    assert list(source.ambiguous) == ["2"]


def test_hidden_files_and_links_back_are_left_out(tree):
    folder = tree("1.mp4", "._1.mp4", ".trash/2.mp4", "a/3.mp4")
    (folder / "a" / "again").symlink_to(folder)
    (folder / "gone.mp4").symlink_to(folder / "nowhere")
    assert list(chosen(find_frames(folder))) == ["1", "gone", "3"]


def test_a_linked_folder_is_entered(tree, tmp_path):
    folder = tree("a/1.mp4")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "media").symlink_to(folder)
    assert list(find_frames(tmp_path / "links").files) == ["1"]


@pytest.mark.parametrize("find", [find_frames, find_covers])
def test_a_folder_without_media_says_that_its_sub_folders_were_looked_into(find, tree):
    with pytest.raises(MicroLensError, match="nor do its sub-folders"):
        find(tree("a/notes.txt"))


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path):
    with pytest.raises(MicroLensError, match="cannot be listed .*right folder"):
        find_frames(tmp_path / "nowhere")


def test_whether_a_folder_holds_media_itself(tree):
    folder = tree("a/1.mp4", "b.mp4/1.jpg")
    assert not holds_media(folder, "videos") and not holds_media(folder, "covers")
    assert holds_media(folder / "a", "videos") and not holds_media(folder / "nowhere", "videos")
