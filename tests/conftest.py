"""A tiny converted dataset with real videos, made once for all tests that train on it."""

import gc
import multiprocessing
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny import QUICK, TINY_CONTENT
from torch import nn

from recbole_microlens.encoders import registry
from recbole_microlens.encoders.spec import EncoderSpec
from recbole_microlens.encoders.weights import PublishedWeights
from recbole_microlens.media.build import build_audio, build_covers, build_frames
from recbole_microlens.release.atomic import convert
from recbole_microlens.release.item_ids import read_item_ids
from recbole_microlens.release.layout import find_release
from recbole_microlens.sample.release import write_release

# A shell lets what it starts in the background ignore it, and all that this starts; some tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(nextitem):
    """Before the last fixtures end, end a loader's workers that some test has left: they hold copies of the
    pipes of servers and browsers, which then wait for ever for the pipes' end.
    """
    if nextitem is not None:
        return
    gc.collect()
    for process in multiprocessing.active_children():
        with suppress(OSError):
            if Path(f"/proc/{process.pid}/comm").read_text() == "pt_data_worker\n":
                process.kill()
                process.join()


@pytest.fixture(scope="session")
def tiny_release(tmp_path_factory) -> Path:
    """A release folder of 24 users and 20 videos."""
    return write_release(tmp_path_factory.mktemp("tiny") / "release", users=24, items=20, progress=False)


@pytest.fixture(scope="session")
def tiny_data(tiny_release, tmp_path_factory) -> Path:
    """A ``data_path`` with the dataset ``tiny`` and its stores: two frames and a cover of 32 x 32
    an item, and two windows of sound.
    """
    out = tmp_path_factory.mktemp("dataset_atomic")
    convert(tiny_release, "tiny", out)
    folder, release = out / "tiny", find_release(tiny_release)
    items = read_item_ids(folder, "tiny")
    build_frames(
        release.videos, items, folder / "video.lmdb", num_frames=2, size=32, workers=1, progress=False
    )
    build_covers(release.covers, items, folder / "cover.lmdb", size=32, workers=1, progress=False)
    build_audio(
        release.videos, items, folder / "audio.lmdb", seconds=0.5, windows=2, workers=1, progress=False
    )
    return out


@pytest.fixture
def settings(tiny_data, tmp_path) -> dict:
    """Settings of a short, quiet run of any model on ``tiny``."""
    return {
        "data_path": str(tiny_data),
        "checkpoint_dir": str(tmp_path / "runs"),
        "show_progress": False,
        "use_gpu": False,
        "state": "WARNING",
        "epochs": 2,
    }


@pytest.fixture
def content_settings(settings) -> dict:
    """Settings of a short, quiet run of SASRecV on ``tiny``."""
    return settings | TINY_CONTENT


@pytest.fixture
def quick_settings(content_settings, monkeypatch) -> dict:
    """The same with an encoder of two convolutions: quicker, where the encoder is not the point."""
    monkeypatch.setitem(registry.ENCODERS, QUICK.name, QUICK)
    return content_settings | {"encoder": QUICK.name}


@pytest.fixture
def write_inter(tmp_path):
    """Return a function (name, rows of user, item, time) -> ``data_path`` that holds ``<name>.inter``."""

    def write(name: str, rows) -> Path:
        folder = tmp_path / "dataset_atomic" / name
        folder.mkdir(parents=True)
        lines = ["user_id:token\titem_id:token\ttimestamp:float"]
        lines += ["\t".join(map(str, row)) for row in rows]
        (folder / f"{name}.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return folder.parent

    return write


class BagOfTokens(nn.Module):
    """The mean of the embeddings of a title's tokens."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(256, 6)

    def forward(self, content):
        tokens, mask = content.long().unbind(1)
        summed = (self.table(tokens) * mask.unsqueeze(2)).sum(1)
        return summed / mask.sum(1, keepdim=True).clamp(min=1)


def tokenize_bytes(spec, titles, max_tokens):
    """Stands for a tokenizer: the bytes of a title, and a mask."""
    rows = torch.zeros(len(titles), 2, max_tokens, dtype=torch.int32)
    for row, title in zip(rows, titles, strict=True):
        taken = title.encode()[:max_tokens]
        row[0, : len(taken)] = torch.tensor(list(taken), dtype=torch.int32)
        row[1, : len(taken)] = 1
    return rows.numpy()


def tiny_spec(name, modality, modules, feature_dim):
    """An entry of the table of encoders: each module is a stage."""
    return EncoderSpec(
        name=name,
        paper_name="",
        modality=modality,
        build=lambda frames, size: nn.ModuleDict({key: make() for key, make in modules.items()}),
        stages=tuple((key,) for key in modules),
        head=(),
        feature_dim=feature_dim,
        mean=() if modality == "text" else (0.5, 0.5, 0.5),
        std=() if modality == "text" else (0.25, 0.25, 0.25),
        published=PublishedWeights("", "", ""),
    )


@pytest.fixture
def tiny_encoders(monkeypatch) -> dict:
    """Register an encoder of a few weights for each modality; settings of a run on ``tiny`` with them."""
    for spec in (
        tiny_spec("tiny_video", "video", {"stem": lambda: nn.Conv3d(3, 4, 2), "top": nn.Tanh}, 4),
        tiny_spec("tiny_image", "image", {"stem": lambda: nn.Conv2d(3, 5, 4), "top": nn.Tanh}, 5),
        tiny_spec("tiny_text", "text", {"bag": BagOfTokens, "top": nn.Tanh}, 6),
    ):
        monkeypatch.setitem(registry.ENCODERS, spec.name, spec)
    text = SimpleNamespace(tokenize=tokenize_bytes, tokenizer_fingerprint=lambda spec: spec.name)
    monkeypatch.setitem(sys.modules, "recbole_microlens.encoders.transformers.tokenizer", text)
    encoders = {f"{modality}_encoder": f"tiny_{modality}" for modality in ("video", "image", "text")}
    return TINY_CONTENT | encoders | {"encoder": None, "max_title_tokens": 24}
