"""Which file of a release folder is taken for what."""

import pytest

from recbole_microlens.errors import MicroLensError
from recbole_microlens.release.layout import find_release


def test_every_file_of_a_100k_release_is_found(make_release):
    folder = make_release(
        {
            "MicroLens-100k_pairs.csv": "",
            "MicroLens-100k_title_en.csv": "",
            "MicroLens-100k_likes_and_views.txt": "",
            "MicroLens-100k_comment_en.txt": "",
            "tags_to_summary.csv": "",
            "MicroLens-100k_covers/1.jpg": "",
            "MicroLens-100k_videos/1.mp4": "",
            "frames/1-1.jpg": "",
        }
    )
    release = find_release(folder)
    assert release.pairs == folder / "MicroLens-100k_pairs.csv"
    assert release.titles == folder / "MicroLens-100k_title_en.csv"
    assert release.likes_and_views == folder / "MicroLens-100k_likes_and_views.txt"
    assert release.tags == folder / "tags_to_summary.csv"
    assert release.covers == folder / "MicroLens-100k_covers"
    assert release.videos == folder / "MicroLens-100k_videos"
    assert release.frames == folder / "frames"


@pytest.mark.parametrize(
    ("pairs", "titles"),
    [
        ("MicroLens-50k_pairs.csv", "MicroLens-50k_titles.csv"),
        ("MicroLens-1M_pairs.csv", "MicroLens-1M_title.csv"),
        ("MicroLens-1M_pairs.tsv", "MicroLens-1M_items.tsv"),
        ("microlens-100K_PAIRS.CSV", "MICROLENS-100k_Titles.csv"),
        ("MicroLens-my_own_pairs.csv", "MicroLens-my_own_title_zh.csv"),
    ],
)
def test_names_of_other_releases_and_cases_are_found(make_release, pairs, titles):
    folder = make_release({pairs: "", titles: ""})
    release = find_release(folder)
    assert (release.pairs, release.titles) == (folder / pairs, folder / titles)
    assert release.tags is None and release.videos is None


def test_files_one_level_below_are_found_but_not_deeper(make_release):
    folder = make_release({"data/MicroLens-50k_pairs.csv": "", "data/deep/MicroLens-50k_titles.csv": ""})
    release = find_release(folder)
    assert release.pairs == folder / "data" / "MicroLens-50k_pairs.csv"
    assert release.titles is None


def test_csv_pairs_are_preferred_to_the_sequence_tsv(make_release):
    folder = make_release({"MicroLens-50k_pairs.tsv": "", "MicroLens-50k_pairs.csv": ""})
    assert find_release(folder).pairs.name == "MicroLens-50k_pairs.csv"


def test_english_titles_are_preferred_to_other_languages(make_release):
    folder = make_release(
        {"MicroLens-1M_pairs.csv": "", "MicroLens-1M_title_cn.csv": "", "MicroLens-1M_title_en.csv": ""}
    )
    assert find_release(folder).titles.name == "MicroLens-1M_title_en.csv"


def test_of_two_releases_the_one_named_like_the_dataset_is_taken_with_its_own_titles(make_release):
    folder = make_release(
        {
            "MicroLens-50k_pairs.csv": "",
            "MicroLens-50k_titles.csv": "",
            "MicroLens-100k_pairs.csv": "",
            "MicroLens-100k_titles.csv": "",
        }
    )
    release = find_release(folder, "microlens-100k")
    assert (release.pairs.name, release.titles.name) == (
        "MicroLens-100k_pairs.csv",
        "MicroLens-100k_titles.csv",
    )


def test_two_releases_without_a_matching_name_are_an_error_that_lists_them(make_release):
    folder = make_release({"MicroLens-50k_pairs.csv": "", "MicroLens-100k_pairs.csv": ""})
    with pytest.raises(MicroLensError, match=r"MicroLens-100k_pairs.csv, MicroLens-50k_pairs.csv.*'mine'"):
        find_release(folder, "mine")


def test_titles_of_another_release_are_left_out(make_release):
    folder = make_release({"MicroLens-100k_pairs.csv": "", "MicroLens-50k_titles.csv": ""})
    assert find_release(folder).titles is None


def test_the_same_file_in_two_sub_folders_is_an_error(make_release):
    folder = make_release({"a/MicroLens-50k_pairs.csv": "", "b/MicroLens-50k_pairs.csv": ""})
    with pytest.raises(MicroLensError, match="2 candidates for the pairs"):
        find_release(folder)


def test_a_folder_without_pairs_is_an_error_that_names_pattern_and_content(make_release):
    folder = make_release({"notes.txt": "", "MicroLens-100k_covers/1.jpg": ""})
    with pytest.raises(
        MicroLensError, match=r"microlens\*_pairs.csv.*found MicroLens-100k_covers, notes.txt"
    ):
        find_release(folder)


def test_media_are_found_in_a_folder_without_pairs(make_release):
    folder = make_release({"MicroLens-100k_covers/1.jpg": ""})
    release = find_release(folder, require_pairs=False)
    assert release.pairs is None
    assert release.covers == folder / "MicroLens-100k_covers"


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(MicroLensError, match="there is no file or folder .*nowhere"):
        find_release(tmp_path / "nowhere")
