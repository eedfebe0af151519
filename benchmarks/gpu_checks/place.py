"""Where checks run: the device that is checked, small real data, and trainers as a run builds them."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from recbole.utils import init_seed
from torch import nn

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.media.build import build_covers, build_frames
from recbole_microlens.release.atomic import convert
from recbole_microlens.release.item_ids import read_item_ids
from recbole_microlens.release.layout import find_release
from recbole_microlens.sample.release import write_release
from recbole_microlens.training.preparation import prepare_data
from recbole_microlens.training.trainer import create_trainer

CPU = torch.device("cpu")
DATASET = "small"
STOCK = "SASRec"
ITEMS = 20
FRAMES, SIZE = 2, 32
WITHOUT_DROPOUT = {
    "hidden_dropout_prob": 0.0,
    "attn_dropout_prob": 0.0,
    "dropout_prob": 0.0,
    "dropout_probs": [0.0, 0.0],
}
_SMALL = {
    "video_encoder": "x3d_xs",
    "image_encoder": "resnet18",
    "text_encoder": "bert_bytes",
    "encoder_weights": "none",
    "num_frames": FRAMES,
    "frame_size": SIZE,
    "max_title_tokens": 24,
    "hidden_size": 32,
    "inner_size": 64,
    "train_batch_size": 12,
    "activation_cache": "off",
    "worker": 0,
    "show_progress": False,
    "state": "ERROR",
}
_OF_CONTENT = {
    "video_encoder",
    "image_encoder",
    "text_encoder",
    "encoder_weights",
    "finetune",
    "num_frames",
    "frame_size",
    "max_title_tokens",
    "activation_cache",
}
_CHANCE = ("dropout", "attention_dropout", "dropout_p", "dropout_prob")


@dataclass
class Built:
    """A trainer with its model and loaders."""

    trainer: object
    train: object
    valid: object

    @property
    def model(self) -> nn.Module:
        return self.trainer.model

    def first_batch(self):
        """The same whatever was drawn before."""
        self.train.generator.manual_seed(5)
        return next(iter(self.train))

    def epoch(self, number: int = 0) -> float:
        """Mean loss of an epoch of training."""
        return self.trainer._train_epoch(self.train, number) / len(self.train)

    def metrics(self) -> dict[str, float]:
        self.trainer.eval_collector.data_collect(self.train)
        return dict(self.trainer.evaluate(self.valid, load_best_model=False))


@dataclass
class Place:
    """Where the checks run.

    Attributes
    ----------
    device : what is checked; a CPU stands for a GPU where there is none.
    short : small shapes.
    scratch : a folder for what is written.
    """

    device: torch.device
    short: bool
    scratch: Path
    _built: int = field(default=0)

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def users(self) -> int:
        """Of the small dataset; twelve of them make a batch."""
        return 24 if self.short else 96

    @cached_property
    def data(self) -> Path:
        """A ``data_path`` with a small dataset of real videos, covers and titles; made when asked for."""
        release = write_release(self.scratch / "release", users=self.users, items=ITEMS, progress=False)
        out = self.scratch / "data"
        convert(release, DATASET, out)
        folder, found = out / DATASET, find_release(release)
        items, options = read_item_ids(folder, DATASET), {"size": SIZE, "workers": 1, "progress": False}
        build_frames(found.videos, items, folder / "video.lmdb", num_frames=FRAMES, **options)
        build_covers(found.covers, items, folder / "cover.lmdb", **options)
        return out

    def settings(self, device: torch.device | None = None, **more) -> dict:
        """Settings of a small model on the small dataset; by default on the device that is checked."""
        return (
            _SMALL
            | {"finetune": "top" if self.short else "full"}
            | {"data_path": str(self.data), "checkpoint_dir": str(self.scratch / "runs")}
            | {"use_gpu": (device or self.device).type == "cuda"}
            | more
        )

    def build(self, model: str, device: torch.device | None = None, **more) -> Built:
        """A trainer as a run builds it, but without dropout, so that two devices can be compared."""
        chosen = self.settings(device, **more)
        if model == STOCK:
            chosen = {key: value for key, value in chosen.items() if key not in _OF_CONTENT}
        config = config_of(model, DATASET, chosen | WITHOUT_DROPOUT)
        train, valid, _ = prepare_data(config, create_dataset(config))
        init_seed(config["seed"], config["reproducibility"])
        network = config.model_class(config, train._dataset)
        without_dropout(network)
        self._built += 1
        folder = self.scratch / "runs" / f"built-{self._built}"
        folder.mkdir(parents=True)
        return Built(create_trainer(config, network.to(config["device"]), folder, train), train, valid)

    def synchronise(self) -> None:
        if self.is_cuda:
            torch.cuda.synchronize()

    def release(self) -> None:
        """Give back memory that nothing uses any more."""
        gc.collect()
        if self.is_cuda:
            torch.cuda.empty_cache()

    def works(self) -> bool:
        """Whether the device still computes; after some errors a process can use its GPU no more."""
        try:
            return torch.ones(2, device=self.device).sum().item() == 2
        except RuntimeError:
            return False


def config_of(model: str, dataset: str, settings: dict) -> Config:
    """A configuration. RecBole hides the GPUs in the environment for a run on the CPU: here they stay."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        return Config(model, dataset, config_dict=settings)
    finally:
        if before is None:
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


def without_dropout(network: nn.Module) -> None:
    """Take all randomness out of a model in training mode, that of its encoders too."""
    for module in network.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        for name in _CHANCE:
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


@contextmanager
def exact_products(place: Place) -> Iterator[None]:
    """No TF32 inside: torch allows it to convolutions, and a product then keeps 10 bits of 23."""
    if not place.is_cuda:
        yield
        return
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = False
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed


def relative(value: float, reference: float) -> float:
    return abs(value - reference) / max(abs(reference), 1e-12)


def gradients(model: nn.Module) -> torch.Tensor:
    """All gradients of a model in one vector, in float64 on the CPU; zeros where a parameter has none."""
    parts = [
        (torch.zeros_like(p) if p.grad is None else p.grad).detach().double().flatten().cpu()
        for p in model.parameters()
        if p.requires_grad
    ]
    return torch.cat(parts)


def distance(tensor: torch.Tensor, reference: torch.Tensor) -> float:
    """Norm of the difference over the norm of the reference."""
    tensor, reference = tensor.detach().double().cpu(), reference.detach().double().cpu()
    return ((tensor - reference).norm() / reference.norm().clamp(min=1e-30)).item()
