"""Time and peak memory of a training step of NFM or DeepFM, against the dense form, on the same batch.

Batches are one of interactions of MicroLens-100K's shape, and one whose histories are all full. Each form
has a process of its own, whose memory is that of this form alone.
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import torch
from recbole.data.interaction import Interaction
from shared.dense_pairs import batch_norm_of, dense_loss
from shared.interactions import write_interactions

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.training.preparation import prepare_data

NAME = "pairs-benchmark"
BATCHES = ("of the data", "full histories")
FORMS = ("dense", "factorised")


def compare_steps(model: str, short: bool, batch_size: int = 64) -> dict:
    """Seconds and peak bytes of both forms, and how many times less the factorised one takes."""
    width, rounds = (64, 1) if short else (512, 3)
    found: dict = {"batch_size": batch_size, "width": width, "rounds": rounds}
    with TemporaryDirectory() as scratch:
        write_interactions(Path(scratch), NAME, share=0.1)
        for batch in BATCHES:
            steps = {
                form: _in_own_process(scratch, model, form, batch, width, batch_size, rounds)
                for form in FORMS
            }
            dense, ours = (steps[form] for form in FORMS)
            steps["dense_over_factorised"] = {
                what: round(dense[what] / ours[what], 1) for what in ("seconds", "peak_bytes")
            }
            steps["relative_difference_of_loss"] = abs(dense["loss"] - ours["loss"]) / abs(dense["loss"])
            found[batch] = steps
    return found


def _in_own_process(*arguments) -> dict:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measured, *arguments).result()


def _measured(
    folder: str, name: str, form: str, batch: str, width: int, batch_size: int, rounds: int
) -> dict:
    model, interaction = _model_and_batch(folder, name, batch, width, batch_size)
    loss_of = _dense(model) if form == "dense" else model.calculate_loss
    seconds, before = [], _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    for _ in range(rounds + 1):
        model.zero_grad()
        start = perf_counter()
        loss = loss_of(interaction)
        loss.backward()
        seconds.append(perf_counter() - start)
    return {
        "seconds": round(median(seconds[1:]), 4),
        "peak_bytes": _memory("VmHWM") - before,
        "loss": loss.item(),
    }


def _model_and_batch(folder: str, name: str, batch: str, width: int, batch_size: int):
    settings = {
        "data_path": folder,
        "use_gpu": False,
        "embedding_size": width,
        "train_batch_size": batch_size,
    }
    config = Config(name, NAME, config_dict=settings)
    train, _, _ = prepare_data(config, create_dataset(config))
    torch.manual_seed(0)
    model = config.model_class(config, train._dataset).train()
    with torch.no_grad():
        model.item_embedding.weight[0] = 0
    if batch == "of the data":
        return model, next(iter(train))
    drawn = torch.randint(1, model.n_items, (batch_size, model.max_seq_length + 1))
    full = torch.full((batch_size,), model.max_seq_length)
    fields = {model.ITEM_SEQ: drawn[:, :-1], model.ITEM_SEQ_LEN: full, model.ITEM_ID: drawn[:, -1]}
    return model, Interaction(fields)


def _dense(model) -> Callable[[Interaction], torch.Tensor]:
    norm = batch_norm_of(model)

    def loss_of(interaction: Interaction) -> torch.Tensor:
        targets = interaction[model.ITEM_ID].unsqueeze(1)
        rows = torch.cat([model.histories(interaction), targets], dim=1)
        return dense_loss(model, rows, model.log_popularity, norm)

    return loss_of


def _memory(line: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(each.split()[1]) * 1024 for each in lines if each.startswith(line))
