"""RecBole's trainers: plain checkpoints and resume for all, and the training loop of content models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from itertools import count
from pathlib import Path
from time import perf_counter

import torch
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from recbole_microlens import acceleration, checkpoint, compat, distributed, process_memory, training_state
from recbole_microlens.best_epoch import FirstBest
from recbole_microlens.data.media import ItemReader
from recbole_microlens.encoders.statistics import takes_statistics
from recbole_microlens.errors import MicroLensError, explained
from recbole_microlens.items.cache_plan import Work
from recbole_microlens.items.cache_settings import CacheSettings
from recbole_microlens.items.media_batch import ItemMedia
from recbole_microlens.items.trunk_cache import TrunkCaches
from recbole_microlens.ranking import HitsCollector
from recbole_microlens.run_estimate import Outlook

compat.fix_recbole()
from recbole.trainer import Trainer  # noqa: E402
from recbole.utils import get_trainer, set_color  # noqa: E402

BEST, LAST = "model.pth", "last.pth"
# Steps between two looks at the loss: each look makes a GPU finish what it has queued.
_STEPS_UNCHECKED = 50
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class ContentTrainer(Trainer):
    """Trains content models: two parameter groups, mixed precision, one encoding of every item for a ranking,
    trunk outputs from a cache.

    The loop is RecBole's but for four things: gradients are clipped after they are unscaled, ``precision``
    names the type of the mixed precision, the loss is looked at every few steps only, and the time spent
    waiting for data is measured.

    Parameters
    ----------
    model : a :class:`~recbole_microlens.models.content_model.ContentModel` on the config's device.
    reader : reads the media of all items for the rankings.
    dataset : the training dataset.
    """

    def __init__(self, config, model, reader: ItemReader, dataset):
        acceleration.convolutions(model.item_embedding.encoders())
        super().__init__(config, model)
        self.reader = reader
        tokens = dataset.field2id_token[dataset.iid_field]
        self.caches = TrunkCaches(
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
                "`freeze_bn_statistics: true` for the same result as with one."
            )
        return super().fit(*args, **kwargs)

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        self.caches.ensure(may_build=True)
        self.model.train()
        loss_func = loss_func or self.model.calculate_loss
        start, waited, has_finished = perf_counter(), 0.0, self._queued()
        total_loss = torch.zeros((), dtype=torch.float64, device=self.device)
        label = set_color(f"Train {epoch_idx:>5}", "pink")
        progress = tqdm(train_data, total=len(train_data), ncols=100, desc=label, disable=not show_progress)
        with closing(progress):
            batches = iter(progress)
            for step in count(1):
                asked = perf_counter()
                batch = next(batches, None)
                if has_finished():
                    waited += perf_counter() - asked
                if batch is None:
                    break
                total_loss += self._step(batch, loss_func)
                has_finished = self._queued()
                if step % _STEPS_UNCHECKED == 0:
                    self._check_nan(distributed.sum_of_all(total_loss.clone()))
        self._check_nan(distributed.sum_of_all(total_loss))
        share = waited / (perf_counter() - start)
        self.data_wait_shares.append(round(share, 4))
        if self.config["compile"] and len(self.data_wait_shares) == 1:
            acceleration.say_what_runs_compiled()
        self.logger.info(f"epoch {epoch_idx} data wait: {waited:.2f}s ({share:.1%} of the epoch)")
        return total_loss.item()

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
        distributed.sum_gradients(self.model.parameters())
        if self.clip_grad_norm:
            self.scaler.unscale_(self.optimizer)
            clip_grad_norm_(self.model.parameters(), **self.clip_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach().sum()  # TransRec gives a tensor of one value

    def _share_of_targets(self, batch) -> float:
        """How much of the mean over the targets of all processes is this process's."""
        if distributed.world_size() == 1:
            return 1.0
        mine = 0 if batch.is_idle else self.model.n_targets(batch)
        return mine / max(distributed.total(mine, self.device), 1)

    @torch.no_grad()
    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        """As RecBole's, on a table for which every item is encoded once."""
        distributed.same_in_all(self.model)
        self.caches.ensure(may_build=False)
        self.model.eval()
        with self._autocast():
            self.model.fill_item_table(self._all_media(show_progress))
        return super().evaluate(eval_data, load_best_model=False, show_progress=show_progress)

    def _all_media(self, show_progress: bool) -> Iterator[ItemMedia]:
        workers = self.config["worker"] if self.reader.readers else 0
        loader = self.reader.all_items(self.config["encode_batch_size"], workers)
        label = set_color("Encode items", "pink")
        for media in tqdm(loader, ncols=100, desc=label, disable=not show_progress):
            yield media.to(self.device)

    def _autocast(self):
        return torch.autocast(self.device.type, self.autocast_dtype, enabled=self.autocast_dtype is not None)


class ResumableTrainer(FirstBest):
    """Mixin for any RecBole trainer: plain checkpoints, a resume that repeats the unbroken run, times per
    epoch.

    ``model.pth`` holds the best model so far; ``last.pth``, written after each validation, everything that
    the next epoch depends on.

    Parameters
    ----------
    folder : the run's folder.
    """

    def __init__(self, config, model, folder: Path, *args):
        with compat.tensorboard_in(folder / "tensorboard" if distributed.is_first() else None):
            super().__init__(config, model, *args)
        self.folder = folder
        self.saved_model_file = str(folder / BEST)
        self.eval_collector = HitsCollector(config)
        process_memory.watch(getattr(self, "optimizer", None))
        self.epoch_times: list[float] = []
        self.resumes: list[dict] = []
        self._outlook = Outlook(config["epochs"], config["eval_step"], config["stopping_step"])
        self._restored_chance: list[dict] | None = None
        self._generators: list[torch.Generator] = []

    def fit(
        self, train_data, valid_data=None, verbose=True, saved=True, show_progress=False, callback_fn=None
    ):
        """As RecBole's; after every validation ``last.pth`` is written. A finished training is left alone."""
        self._generators = checkpoint.generators_of(train_data)
        if self._restored_chance:
            self._set_random_states(self._restored_chance)
            if self.is_finished():
                self.eval_collector.data_collect(train_data)
                return self.best_valid_score, self.best_valid_result

        def after_validation(epoch, score):
            self._outlook.after_validation()
            if saved:
                self._save_last(epoch)
            if callback_fn:
                callback_fn(epoch, score)

        return super().fit(train_data, valid_data, verbose, saved, show_progress, after_validation)

    def is_finished(self) -> bool:
        """Whether no epoch is left to train, by number or because it stopped early."""
        return self.start_epoch >= self.epochs or self.cur_step > self.stopping_step

    def _set_random_states(self, states: list[dict]) -> None:
        if len(states) != distributed.world_size():
            self.logger.warning(
                f"The run was broken off with {len(states)} processes and goes on with "
                f"{distributed.world_size()}: chance (dropout, shuffling) is not what it would have been"
            )
        own = states[min(distributed.rank(), len(states) - 1)]
        checkpoint.set_random_states(own, self._generators)

    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        """As RecBole's, from a checkpoint of plain data. ``result_by_popularity`` then holds the metrics on
        unseen, rare and frequent targets.
        """
        if load_best_model:
            self.load_model(Path(model_file or self.saved_model_file))
        result = super().evaluate(eval_data, load_best_model=False, show_progress=show_progress)
        groups = self.eval_collector.groups
        self.result_by_popularity = groups.results(self.evaluator) if groups else {}
        return result

    def resume_checkpoint(self, resume_file):
        """Continue from ``last.pth``; the next epoch is the one after it, under this trainer's settings.

        Raises
        ------
        MicroLensError
            The file is missing, damaged, or of another model; or all is trained, and settings are given for
            what is not.
        """
        state = self.load_model(Path(resume_file))
        training_state.restore(self, state)
        self._restored_chance = state["random"]
        self.logger.info(f"Resuming {self.folder} at epoch {self.start_epoch}")

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        start = perf_counter()
        losses = super()._train_epoch(train_data, epoch_idx, loss_func=loss_func, show_progress=show_progress)
        self.epoch_times.append(round(perf_counter() - start, 3))
        self._outlook.after_epoch(epoch_idx, self.epoch_times[-1])
        self.logger.info(f"epoch {epoch_idx} memory: {process_memory.in_words()}")
        return losses

    def _check_nan(self, loss):
        if not torch.isfinite(loss):
            what = "NaN" if torch.isnan(loss) else "infinite"
            raise MicroLensError(
                f"The training loss is {what}. Lower `learning_rate` (and `encoder_learning_rate`), set "
                "`clip_grad_norm`, "
                f"or train with `precision: fp32`. The best model so far is in {self.folder}."
            )

    def _save_checkpoint(self, epoch, verbose=True, **kwargs):
        self._write(self._model_state(epoch), Path(self.saved_model_file))
        if self.eval_step <= 0:
            self._save_last(epoch)
        if verbose:
            self.logger.info(set_color("Saving current", "blue") + f": {self.saved_model_file}")

    def _save_last(self, epoch: int) -> None:
        state = self._model_state(epoch) | training_state.state_of(self, self._generators)
        self._write(state, self.folder / LAST)

    @staticmethod
    def _write(state: dict, path: Path) -> None:
        """Save a checkpoint, once; no process goes on before it is there."""
        if distributed.is_first():
            checkpoint.save(state, path)
        distributed.wait_for_all()

    def save_pretrained_model(self, epoch, saved_model_file):
        """RecBole's pretraining trainers save a stage with this; here as plain data in the run's folder."""
        self.saved_model_file = str(self.folder / Path(saved_model_file).name)
        checkpoint.save(self._model_state(epoch), Path(self.saved_model_file))

    def _model_state(self, epoch: int) -> dict:
        other = self.model.other_parameter() or {}
        return {
            "model": self.config["model"],
            "epoch": epoch,
            "state_dict": self.model.state_dict(),
            # Some RecBole models list whole modules here; their weights are in the state dict.
            "other_parameter": {k: v for k, v in other.items() if not isinstance(v, torch.nn.Module)},
        }

    def load_model(self, path: Path) -> dict:
        """Put the model of a checkpoint in place and return the whole checkpoint."""
        state = checkpoint.load(path, self.device)
        if state["model"] != self.config["model"]:
            raise MicroLensError(f"{path} holds a {state['model']}, not a {self.config['model']}.")
        with explained(f"{path} does not fit this model", "Leave out settings that change the model."):
            self.model.load_state_dict(state["state_dict"])
            self.model.load_other_parameter(state["other_parameter"])
        return state


def create_trainer(config, model, folder: Path, train_data):
    """The trainer of a model: ours for content models, RecBole's for the others, both resumable."""
    if config["item_modality"] is not None:
        return _resumable(ContentTrainer)(config, model, folder, train_data.reader, train_data._dataset)
    return _resumable(get_trainer(config["MODEL_TYPE"], config["model"]))(config, model, folder)


def _work(config, train) -> Work:
    """What a training run at its longest passes through the trunk; the test ranks once more."""
    epochs, step = config["epochs"], config["eval_step"]
    rankings = 1 + (epochs // step if step > 0 else 0)
    return Work(epochs, rankings, train.item_slots())


@cache
def _resumable(trainer_class: type) -> type:
    return type(f"Resumable{trainer_class.__name__}", (ResumableTrainer, trainer_class), {})
