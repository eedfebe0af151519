"""What a batch brings for each modality, and what is said of items that it has nothing for."""

import pickle
import shutil

import numpy as np
import pytest
import torch

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.data.missing import MissingContent
from recbole_microlens.data.readers.features import FeatureReader
from recbole_microlens.data.readers.titles import read_titles
from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.feature_file import open_features, written_features
from recbole_microlens.media.store import MediaStore
from recbole_microlens.models import SASRecV
from recbole_microlens.release.item_ids import read_item_ids
from recbole_microlens.training.preparation import prepare_data


class Mixed(SASRecV):
    """A class of one's own: `item_modality` says what it looks at."""

    suffix = ""


@pytest.fixture
def train_data(settings, tiny_encoders):
    """Return a function (modalities, further settings) -> the training loader."""

    def make(*modalities, **more):
        chosen = settings | tiny_encoders | {"item_modality": list(modalities)} | more
        config = Config(Mixed, "tiny", config_dict=chosen)
        return prepare_data(config, create_dataset(config))[0]

    return make


@pytest.fixture
def changed_data(tiny_data, tmp_path):
    """A copy of ``tiny`` to change."""
    shutil.copytree(tiny_data / "tiny", tmp_path / "own" / "tiny")
    return tmp_path / "own"


def token_of(loader, internal):
    return str(loader._dataset.id2token("item_id", int(internal)))


def test_a_batch_brings_every_modality_of_its_items(train_data, tiny_data):
    loader = train_data("id", "text", "image", "video")
    batch = next(iter(loader))
    content, ids = batch.media.content, batch.media.item_ids
    assert {name: (part.dtype, tuple(part.shape)) for name, part in content.items()} == {
        "text": (torch.int32, (len(ids), 2, 24)),
        "image": (torch.uint8, (len(ids), 32, 32, 3)),
        "video": (torch.uint8, (len(ids), 2, 32, 32, 3)),
    }
    titles = read_titles(tiny_data / "tiny" / "tiny.item")
    covers, videos = (MediaStore(tiny_data / "tiny" / f"{name}.lmdb") for name in ("cover", "video"))
    for row, token in enumerate(token_of(loader, i) for i in ids):
        np.testing.assert_array_equal(content["image"][row], covers.read(token)[0])
        np.testing.assert_array_equal(content["video"][row], videos.read(token))
        letters, mask = content["text"][row]
        assert bytes(letters[mask == 1].tolist()).decode() == titles[token][:24]


def test_ids_alone_bring_nothing(train_data):
    assert next(iter(train_data("id"))).media.content == {}


def test_an_image_may_be_the_middle_frame_of_the_video(train_data, tiny_data):
    loader = train_data("image", image_source="video")
    image = loader.reader.read(torch.tensor([5])).content["image"]
    stored = MediaStore(tiny_data / "tiny" / "video.lmdb").read(token_of(loader, 5))
    np.testing.assert_array_equal(image[0], stored[0])


def test_without_covers_the_command_that_builds_them_is_named(train_data, changed_data):
    (changed_data / "tiny" / "cover.lmdb").unlink()
    with pytest.raises(MicroLensError, match="covers RELEASE_FOLDER --dataset tiny; or set `image_source: v"):
        train_data("image", data_path=str(changed_data))


def test_items_without_a_title_are_counted_or_stop_the_run(train_data, changed_data, caplog):
    item_file = changed_data / "tiny" / "tiny.item"
    header, first, *rest = item_file.read_text().splitlines()
    fields = first.split("\t")
    item_file.write_text("\n".join([header, "\t".join([fields[0], " ", *fields[2:]]), *rest]) + "\n")
    loader = train_data("text", data_path=str(changed_data))
    assert f"1 of {loader.reader.n_items - 1} items (" in caplog.text
    assert "have no title in" in caplog.text and "the model gets an empty title" in caplog.text
    with pytest.raises(MicroLensError, match=f"1 items have no title in .*tiny.item: {fields[0]}. Convert"):
        train_data("text", data_path=str(changed_data), missing_media="error")


def test_a_dataset_without_any_title_is_an_error(train_data, changed_data):
    item_file = changed_data / "tiny" / "tiny.item"
    header, *rows = (line.split("\t") for line in item_file.read_text().splitlines())
    lines = ["\t".join(header), *("\t".join([row[0], " ", *row[2:]]) for row in rows)]
    item_file.write_text("\n".join(lines) + "\n")
    with pytest.raises(MicroLensError, match="all of the .* items .* have no title"):
        train_data("text", data_path=str(changed_data))


def test_features_are_matched_by_original_id_in_any_order_of_rows(train_data, tiny_data, tmp_path):
    items = read_item_ids(tiny_data / "tiny", "tiny")[::-1]
    with written_features(tmp_path / "f.npy", items, 2, {}) as append:
        append(np.array([[int(item), -int(item)] for item in items]))
    loader = train_data("video", features=str(tmp_path / "f.npy"))
    batch = next(iter(loader))
    expected = [[int(token_of(loader, i)), -int(token_of(loader, i))] for i in batch.media.item_ids]
    assert batch.media.content["video"].tolist() == expected
    assert batch.media.content["video"].dtype == torch.float32


def test_published_features_are_taken_as_they_are(train_data, tiny_data, tmp_path):
    largest = max(map(int, read_item_ids(tiny_data / "tiny", "tiny")))
    np.save(tmp_path / "f.npy", np.arange(1, largest + 3, dtype=np.float16)[:, None])
    loader = train_data("text", "video", features={"video": str(tmp_path / "f.npy")})
    content = loader.reader.read(torch.tensor([3, 1])).content
    assert content["video"].tolist() == [[float(token_of(loader, i))] for i in (3, 1)]
    assert content["text"].shape == (2, 2, 24)


def test_items_without_features_are_zeros_and_counted_or_stop_the_run(
    train_data, tiny_data, tmp_path, caplog
):
    items = read_item_ids(tiny_data / "tiny", "tiny")[2:]
    with written_features(tmp_path / "f.npy", items, 2, {}) as append:
        append(np.ones((len(items), 2)))
    loader = train_data("video", features=str(tmp_path / "f.npy"))
    assert (
        "2 of " in caplog.text
        and f"have no row in {tmp_path / 'f.npy'}; the model gets zeros instead" in caplog.text
    )
    absent = loader.reader.readers["video"].absent()
    assert loader.reader.read(torch.from_numpy(absent)).content["video"].tolist() == [[0, 0], [0, 0]]
    with pytest.raises(MicroLensError, match="2 items have no row in"):
        train_data("video", features=str(tmp_path / "f.npy"), missing_media="error")


def test_readers_can_be_sent_to_spawned_workers(train_data, tmp_path):
    rows = np.random.default_rng(0).random((5, 3), dtype=np.float32)
    np.save(tmp_path / "f.npy", rows)
    reader = FeatureReader(open_features(tmp_path / "f.npy"), np.array(["[PAD]", "3", "1"]), "zeros")
    sent = pickle.dumps(reader)
    assert len(sent) < 2000
    np.testing.assert_array_equal(pickle.loads(sent).read(torch.tensor([1, 2])), rows[[2, 0]])
    mixed = train_data("text", "image").reader
    again = pickle.loads(pickle.dumps(mixed))
    for name, part in again.read(torch.tensor([2])).content.items():
        torch.testing.assert_close(part, mixed.read(torch.tensor([2])).content[name])


@pytest.mark.parametrize(
    ("modalities", "features", "message"),
    [
        (["text", "video"], "f.npy", "is one file, Mixed looks at text, video. Name the modality"),
        (["video"], {"image": "f.npy"}, "has an entry for image, the model looks at video"),
        (["id"], {"video": "f.npy"}, "the model looks at ids alone"),
        (["video"], 3, "3 is not the path"),
        (["video"], {"video": None}, "is not the path of a .npy file"),
        (["video"], "absent.npy", "there is no file absent.npy"),
    ],
)
def test_wrong_features_are_named(modalities, features, message, train_data):
    with pytest.raises(MicroLensError, match=message):
        train_data(*modalities, features=features)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"item_id\n7\n", b'item_id,reason\n"', b"a" * 200_000, b"a\0b\n"]
)
def test_a_damaged_report_of_reasons_hides_no_error(content, tmp_path):
    (tmp_path / "report.csv").write_bytes(content)
    content = MissingContent(
        "no frames", tmp_path / "video.lmdb", "black frames", "Build", tmp_path / "report.csv"
    )
    assert "1 items have no frames" in str(content.error(["7"]))
