"""What every trainer here has: plain checkpoints, and a resume that repeats the unbroken run."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from time import perf_counter

import torch
from recbole.utils import set_color

from recbole_microlens import distributed
from recbole_microlens.compat.recbole import one_reg_weight
from recbole_microlens.cpu import process_memory
from recbole_microlens.errors import MicroLensError, explained
from recbole_microlens.evaluation.collector import HitsCollector
from recbole_microlens.training import checkpoint, interruption, rng, training_state
from recbole_microlens.training.best_epoch import FirstBest
from recbole_microlens.training.flops import counted_first_step
from recbole_microlens.training.ranking_time import RankingTime
from recbole_microlens.training.run_estimate import Outlook
from recbole_microlens.training.tensorboard import tensorboard_in
from recbole_microlens.training.training_state import BegunEpoch

BEST, LAST, BEFORE = "model.pth", "last.pth", "previous.pth"


class ResumableTrainer(FirstBest):
    """Mixin for any RecBole trainer: plain checkpoints, a resume that repeats the unbroken run, times per
    epoch.

    ``model.pth`` holds the best model so far; ``last.pth``, written after each validation, everything that
    the next epoch depends on.

    Parameters
    ----------
    folder : Path
        The run's folder.
    """

    def __init__(self, config, model, folder: Path, *args):
        with tensorboard_in(folder / "tensorboard" if distributed.is_main_process() else None):
            super().__init__(config, model, *args)
        self.folder = folder
        self.saved_model_file = str(folder / BEST)
        self.eval_collector = HitsCollector(config)
        process_memory.watch(getattr(self, "optimizer", None))
        self.epoch_times: list[float] = []
        self.train_losses: list[float] = []
        self.valid_results: list[dict] = []
        self.flops_per_step: int | None = None
        self.best_epoch: int | None = None
        self.resumes: list[dict] = []
        self.begun_epoch: BegunEpoch | None = None
        self._outlook = Outlook(config["epochs"], config["eval_step"], config["stopping_step"])
        self._ranking_time = RankingTime(config)
        self._restored_rng: list[dict] | None = None
        self._generators: list[torch.Generator] = []

    def _build_optimizer(self, **kwargs):
        with one_reg_weight(self.config):
            return super()._build_optimizer(**kwargs)

    def fit(
        self, train_data, valid_data=None, verbose=True, saved=True, show_progress=False, callback_fn=None
    ):
        """As RecBole's; after every validation ``last.pth`` is written. A finished training is left alone."""
        self._generators = rng.generators_of(train_data)
        if self._restored_rng:
            self._set_random_states(self._restored_rng)
            if self.is_finished():
                self.eval_collector.data_collect(train_data)
                return self.best_valid_score, self.best_valid_result

        def after_validation(epoch, score):
            self._outlook.after_validation()
            if saved:
                self._save_last(epoch)
            if callback_fn:
                callback_fn(epoch, score)
            if any(distributed.all_gather_object(interruption.is_asked())):
                raise interruption.Preempted

        # Between two epochs, too, several processes end where all of them ask: one that ended at once would
        # leave the others waiting for it.
        several = distributed.world_size() > 1
        with interruption.at_steps() if several else nullcontext():
            return super().fit(train_data, valid_data, verbose, saved, show_progress, after_validation)

    def is_finished(self) -> bool:
        """Whether no epoch is left to train, by number or because it stopped early."""
        return self.start_epoch >= self.epochs or self.cur_step > self.stopping_step

    def _set_random_states(self, states: list[dict]) -> None:
        if len(states) != distributed.world_size():
            self.logger.warning(
                f"The run was interrupted with {len(states)} processes and continues with "
                f"{distributed.world_size()}: dropout and shuffling differ from an uninterrupted run"
            )
        own = states[min(distributed.rank(), len(states) - 1)]
        rng.restore(own, self._generators)

    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        """As RecBole's, from a checkpoint of plain data. ``result_by_popularity`` then holds the metrics on
        unseen, rare and frequent targets.
        """
        if load_best_model:
            self.load_model(Path(model_file or self.saved_model_file))
        self._ranking_time.say(self.model, eval_data)
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
        path = Path(resume_file)
        state = checkpoint.load_last(path, path.with_name(BEFORE), self.device)
        self._take_model(state, path)
        if (self.folder / BEST).exists():  # It may be the one that the test needs.
            checkpoint.load(self.folder / BEST)
        training_state.restore(self, state)
        self._restored_rng = state["random"]
        self.logger.info(f"Resuming {self.folder} at epoch {self.start_epoch}")

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        start = perf_counter()
        with self._counting():
            losses = super()._train_epoch(
                train_data, epoch_idx, loss_func=loss_func, show_progress=show_progress
            )
        self.epoch_times.append(round(perf_counter() - start, 3))
        self.train_losses.append(_total(losses) / max(len(train_data), 1))
        self._outlook.after_epoch(epoch_idx, self.epoch_times[-1])
        self.logger.info(f"epoch {epoch_idx} memory: {process_memory.in_words()}")
        return losses

    def _counting(self):
        """Count the operations of the first step; torch cannot see into one that is compiled."""
        if self.flops_per_step is not None or self.config["compile"]:
            return nullcontext()
        return counted_first_step(self, lambda count: setattr(self, "flops_per_step", count))

    def _valid_epoch(self, *args, **kwargs):
        score, result = super()._valid_epoch(*args, **kwargs)
        self.valid_results.append({"epoch": len(self.epoch_times) - 1, **result})
        return score, result

    def _check_nan(self, loss):
        if not torch.isfinite(loss):
            what = "NaN" if torch.isnan(loss) else "infinite"
            raise MicroLensError(
                f"The training loss is {what}. Lower `learning_rate` (and `encoder_learning_rate`), set "
                "`clip_grad_norm`, or train with `precision: fp32`. What was saved before is in "
                f"{self.folder}."
            )

    def _save_checkpoint(self, epoch, verbose=True, **kwargs):
        if distributed.is_main_process():
            checkpoint.save(self._model_state(epoch), Path(self.saved_model_file))
        distributed.barrier()
        if self.eval_step <= 0:
            self._save_last(epoch)
        if verbose:
            self.logger.info(set_color("Saving current", "blue") + f": {self.saved_model_file}")

    def _save_last(self, epoch: int, more: dict | None = None) -> None:
        state = self._model_state(epoch) | training_state.state_of(self, self._generators) | (more or {})
        if distributed.is_main_process():
            checkpoint.save_keeping(state, self.folder / LAST, self.folder / BEFORE)
        distributed.barrier()

    def _save_within(self, epoch: int, begun: BegunEpoch) -> None:
        """Save the state in the middle of an epoch."""
        self._save_last(epoch - 1, {"begun_epoch": vars(begun)})
        self.logger.info(f"Saved epoch {epoch} after {begun.steps} steps in {self.folder / LAST}")

    def save_pretrained_model(self, epoch, saved_model_file):
        """RecBole's pretraining trainers save a stage with this; here as plain data in the run's folder."""
        self.saved_model_file = str(self.folder / Path(saved_model_file).name)
        checkpoint.save(self._model_state(epoch), Path(self.saved_model_file))

    def _model_state(self, epoch: int) -> dict:
        unusable = not_finite(self.model)
        if unusable:
            raise MicroLensError(
                f"The weights became NaN or infinite in epoch {epoch} ({', '.join(unusable[:3])}). Lower "
                "`learning_rate` (and `encoder_learning_rate`), or set `clip_grad_norm`. What was saved "
                f"before is in {self.folder}."
            )
        other = self.model.other_parameter() or {}
        return {
            "model": self.config["model"],
            "epoch": epoch,
            "state_dict": self.model.state_dict(),
            # Some RecBole models list whole modules here; their weights are in the state dict.
            "other_parameter": {k: v for k, v in other.items() if not isinstance(v, torch.nn.Module)},
        }

    def load_model(self, path: Path) -> None:
        """Put the model of a checkpoint in place."""
        state = checkpoint.load(path, self.device)
        self._take_model(state, path)
        self.best_epoch = state["epoch"] if state["epoch"] >= 0 else None  # -1: nothing was trained

    def _take_model(self, state: dict, path: Path) -> None:
        if state["model"] != self.config["model"]:
            raise MicroLensError(
                f"{path} holds a {state['model']}, not a {self.config['model']}. Give the folder of "
                f"a {self.config['model']} run."
            )
        with explained(f"{path} does not fit this model", "Leave out settings that change the model."):
            self.model.load_state_dict(state["state_dict"])
            self.model.load_other_parameter(state["other_parameter"])
        unusable = not_finite(self.model)
        if unusable:
            raise MicroLensError(
                f"{path} cannot be used: {', '.join(unusable[:3])} in it is NaN or infinite. Start a new run."
            )


def _total(losses) -> float:
    """The loss of an epoch: RecBole gives none, one, or a tuple of its parts."""
    return float(sum(losses) if isinstance(losses, tuple) else losses or 0.0)


def not_finite(model: torch.nn.Module) -> list[str]:
    """Names of the parameters that hold NaN or an infinity, and of the buffers that hold NaN."""
    named = {name: torch.isfinite(value).all() for name, value in model.named_parameters()}
    named |= {name: ~torch.isnan(value).any() for name, value in model.named_buffers()}
    return [name for name, is_fine in named.items() if not is_fine]
