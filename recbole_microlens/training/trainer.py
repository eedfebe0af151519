"""The trainers: plain checkpoints and resume for all, and the training loop of content models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path
from time import perf_counter

import torch
from recbole.trainer import Trainer
from recbole.utils import get_trainer, set_color
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from recbole_microlens import distributed
from recbole_microlens.activation_cache.cache import ActivationCaches
from recbole_microlens.activation_cache.plan import Work, expected_draws
from recbole_microlens.activation_cache.settings import CacheSettings
from recbole_microlens.data.draws import sample_shares
from recbole_microlens.data.media import ItemReader
from recbole_microlens.encoders.batchnorm import takes_statistics
from recbole_microlens.items.media_batch import ItemMedia
from recbole_microlens.training import acceleration, interruption, rng
from recbole_microlens.training.cold_candidates import without_cold_items
from recbole_microlens.training.resumable_trainer import ResumableTrainer
from recbole_microlens.training.training_state import BegunEpoch

# Steps between two checks of the loss: each makes a GPU finish what it has queued.
_STEPS_UNCHECKED = 50
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class ContentTrainer(Trainer):
    """Trains content models: two parameter groups, mixed precision, one encoding of every item for a ranking,
    trunk outputs from a cache.

    The loop is RecBole's except for five things: gradients are clipped after they are unscaled, ``precision``
    names the type of the mixed precision, the loss is checked every few steps only, the time spent waiting
    for data is measured, and an epoch can be interrupted and continued in its middle.

    Parameters
    ----------
    model : nn.Module
        A :class:`~recbole_microlens.models.content_model.ContentModel` on the config's device.
    reader : ItemReader
        Reads the media of all items for the rankings.
    dataset : Dataset
        The training dataset.
    """

    def __init__(self, config, model, reader: ItemReader, dataset):
        acceleration.convolutions(model.item_embedding.encoders())
        super().__init__(config, model)
        self.reader = reader
        tokens = dataset.field2id_token[dataset.iid_field]
        self.caches = ActivationCaches(
            CacheSettings.of(config), model.item_embedding, reader, tokens, _work(config, dataset)
        )
        if config["compile"]:
            acceleration.compile_modules(model, model.item_embedding, self.device)
        precision = self._possible_precision(config["precision"])
        self.autocast_dtype = _AUTOCAST.get(precision)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self.data_wait_shares: list[float] = []

    def _possible_precision(self, precision: str) -> str:
        """fp32 on the CPU: there torch's bf16 convolutions sometimes give NaN gradients (seen with 2.13)."""
        if precision != "fp32" and self.device.type == "cpu":
            self.logger.warning(f"precision: {precision} is for GPUs; on the CPU training stays in fp32")
            return "fp32"
        return precision

    def _build_optimizer(self, **kwargs):
        groups = self.model.parameter_groups()
        encoder = {
            "params": groups["encoder"],
            "lr": self.config["encoder_learning_rate"],
            "weight_decay": self.config["encoder_weight_decay"],
        }
        params = [group for group in (encoder, {"params": groups["others"]}) if group["params"]]
        return acceleration.fused(super()._build_optimizer(params=params, **kwargs))

    def fit(self, *args, **kwargs):
        self.caches.ensure(may_build=True)
        if distributed.world_size() > 1 and takes_statistics(self.model.train()):
            self.logger.warning(
                "BatchNorm in training mode takes its statistics from the items of its own process, not from "
                "all of the batch: the result depends on the number of processes. Set "
                "`freeze_bn_statistics: true` for the same result as with one process."
            )
        return super().fit(*args, **kwargs)

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        self.caches.ensure(may_build=True)
        self.model.train()
        self.model.epoch = epoch_idx + 1
        loss_func = loss_func or self.model.calculate_loss
        start, waited, has_finished = perf_counter(), 0.0, self._queued()
        begun = self._begin_epoch(train_data)
        total_loss = torch.full((), begun.loss, dtype=torch.float64, device=self.device)
        progress = tqdm(
            train_data,
            total=len(train_data),
            initial=begun.steps,
            ncols=100,
            desc=set_color(f"Train {epoch_idx:>5}", "pink"),
            disable=not show_progress,
        )
        with closing(progress), interruption.at_steps():
            batches = iter(progress)
            for step in count(begun.steps + 1):
                asked = perf_counter()
                batch = next(batches, None)
                if has_finished():
                    waited += perf_counter() - asked
                if batch is None:
                    break
                total_loss += self._step(batch, loss_func)
                has_finished = self._queued()
                if step % _STEPS_UNCHECKED == 0:
                    self._check_nan(distributed.all_reduce_sum(total_loss.clone()))
                if self._is_told_to_stop(step, len(train_data)):
                    self._check_nan(distributed.all_reduce_sum(total_loss.clone()))
                    self._save_within(epoch_idx, replace(begun, steps=step, loss=total_loss.item()))
                    raise interruption.Preempted
        train_data.skipped = 0
        self._check_nan(distributed.all_reduce_sum(total_loss))
        share = waited / (perf_counter() - start)
        self.data_wait_shares.append(round(share, 4))
        if self.config["compile"] and len(self.data_wait_shares) == 1:
            acceleration.warn_of_what_runs_as_it_is()
        self.logger.info(f"epoch {epoch_idx} data wait: {waited:.2f}s ({share:.1%} of the epoch)")
        return total_loss.item()

    def _begin_epoch(self, train_data) -> BegunEpoch:
        """The epoch from its start, or from where the run was interrupted in its middle."""
        (generator,) = rng.generators_of(train_data)
        begun, self.begun_epoch = self.begun_epoch, None
        if begun is None:
            return BegunEpoch(generator.get_state())
        generator.set_state(begun.shuffling.cpu())
        train_data.skipped = begun.steps
        return begun

    def _is_told_to_stop(self, step: int, steps: int) -> bool:
        """Whether a scheduler wants this process, or another one of this run, to end after this step."""
        if distributed.world_size() == 1:
            return interruption.is_asked()
        if step % _STEPS_UNCHECKED and step < steps:
            return False
        return distributed.all_reduce_max(int(interruption.is_asked()), self.device) == 1

    def _queued(self) -> Callable[[], bool]:
        """Tells whether the device has finished all that it was given up to now. While it has not, it does
        not wait for data, whatever the loader does.
        """
        if self.device.type != "cuda":
            return lambda: True
        event = torch.cuda.Event()
        event.record()
        return event.query

    def _step(self, batch, loss_func) -> torch.Tensor:
        batch = batch.to(self.device)
        self.optimizer.zero_grad()
        with self._autocast():
            loss = loss_func(batch) * self._share_of_targets(batch)
        self.scaler.scale(loss).backward()
        distributed.all_reduce_gradients(self.model.parameters())
        if self.clip_grad_norm:
            self.scaler.unscale_(self.optimizer)
            clip_grad_norm_(self.model.parameters(), **self.clip_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach().sum()  # TransRec gives a tensor of one value

    def _share_of_targets(self, batch) -> float | torch.Tensor:
        """How much of the mean over the targets of all processes is this process's."""
        if distributed.world_size() == 1:
            return 1.0
        mine = 0 if batch.is_idle else self.model.n_targets(batch)
        return mine / distributed.total(mine, self.device).clamp(min=1)

    @torch.no_grad()
    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        """As RecBole's, on a table for which every item is encoded once."""
        self.encode_items(show_progress)
        return super().evaluate(eval_data, load_best_model=False, show_progress=show_progress)

    @torch.no_grad()
    def encode_items(self, show_progress: bool = False) -> None:
        """Give the model, in eval mode, its table of all items."""
        distributed.broadcast_module(self.model)
        self.caches.ensure(may_build=False)
        self.model.eval()
        with self._autocast():
            self.model.fill_item_table(self._all_media(show_progress))

    def _all_media(self, show_progress: bool) -> Iterator[ItemMedia]:
        workers = self.config["worker"] if self.reader.readers else 0
        loader = self.reader.all_items(self.config["encode_batch_size"], workers)
        label = set_color("Encode items", "pink")
        for media in tqdm(loader, ncols=100, desc=label, disable=not show_progress):
            yield media.to(self.device)

    def _autocast(self):
        return torch.autocast(self.device.type, self.autocast_dtype, enabled=self.autocast_dtype is not None)


class BaselineTrainer(Trainer):
    """RecBole's trainer with the groups of parameters that a baseline asks for."""

    def _build_optimizer(self, **kwargs):
        groups = self.model.parameter_groups()
        return acceleration.fused(super()._build_optimizer(params=groups, **kwargs))


def create_trainer(config, model, folder: Path, train_data):
    """The trainer of a model: ours for content models, RecBole's for the others, both resumable."""
    if config.is_content_model:
        return _resumable(ContentTrainer)(config, model, folder, train_data.reader, train_data._dataset)
    if config.is_baseline:
        return _resumable(BaselineTrainer)(config, model, folder)
    is_cold = getattr(train_data._dataset, "is_cold", None)
    if is_cold is not None:
        model.calculate_loss = without_cold_items(model.calculate_loss, is_cold)
    return _resumable(get_trainer(config["MODEL_TYPE"], config["model"]))(config, model, folder)


def _work(config, train) -> Work:
    """What a training run at its longest passes through the trunk; the test ranks once more."""
    epochs, step = config["epochs"], config["eval_step"]
    rankings = 1 + (epochs // step if step > 0 else 0)
    batch_size = max(config["train_batch_size"] // distributed.world_size(), 1)

    @cache
    def draws() -> torch.Tensor:
        return expected_draws(sample_shares(config, train), len(train), batch_size)

    return Work(epochs, rankings, train.item_slots(), draws)


@cache
def _resumable(trainer_class: type) -> type:
    return type(f"Resumable{trainer_class.__name__}", (ResumableTrainer, trainer_class), {})
