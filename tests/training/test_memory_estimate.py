"""Memory before training: counted by hand, refused before it is taken, and nothing changed by the look."""

import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from torch import nn

from recbole_microlens import cli
from recbole_microlens.activation_cache import memory
from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.errors import MicroLensError
from recbole_microlens.quick_start import run
from recbole_microlens.training import memory_estimate
from recbole_microlens.training.preparation import prepare_data
from recbole_microlens.training.step_memory import step_memory
from recbole_microlens.training.training_state import numbers_of


def built(model, settings, **more):
    """The configuration, the training loader and the model of a run."""
    config = Config(model, "tiny", config_dict=settings | more)
    train, *_ = prepare_data(config, create_dataset(config))
    torch.manual_seed(0)
    return config, train, config.model_class(config, train._dataset)


def free(monkeypatch, count):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=int(count)))


def sasrec_parameters(items, length, d, inner, layers):
    attention = 4 * (d * d + d) + 2 * d
    feed_forward = d * inner + inner + inner * d + d + 2 * d
    return items * d + length * d + 2 * d + layers * (attention + feed_forward)


def test_sasrec_and_adam_are_counted_as_by_hand(settings):
    config, train, model = built("SASRec", settings, hidden_size=24, inner_size=40, n_layers=3)
    counted = 4 * sasrec_parameters(train._dataset.item_num, 10, 24, 40, 3)
    estimate = memory_estimate.check(config, model, train)
    assert (estimate.parameters, estimate.optimiser) == (counted, 3 * counted)


@pytest.mark.parametrize("learner", ["adam", "adamw", "sgd", "adagrad", "rmsprop"])
def test_what_an_optimiser_keeps_is_what_recboles_has_after_a_step(learner, settings):
    config, train, model = built("NARM", settings, learner=learner)
    estimate = memory_estimate.check(config, model, train)
    folder = Path(run("NARM", "tiny", config_dict=settings | {"learner": learner, "epochs": 1})["folder"])
    state = torch.load(folder / "last.pth", weights_only=True)["optimizers"]["optimizer"]["state"]
    kept = sum(value.nbytes for each in state.values() for value in each.values() if value.dim())
    gradients = sum(parameter.nbytes for parameter in model.parameters())
    assert estimate.optimiser == gradients + kept


def test_what_is_frozen_has_neither_gradients_nor_states(content_settings):
    config, train, model = built("SASRecV", content_settings, finetune="frozen")
    estimate = memory_estimate.check(config, model, train)
    trained = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    assert estimate.optimiser == 3 * trained < estimate.parameters


class OverAllItems(nn.Module):
    """Full cross-entropy on an embedding of the last item."""

    def __init__(self, items, d):
        super().__init__()
        self.table = nn.Embedding(items, d)

    def calculate_loss(self, batch):
        return nn.functional.cross_entropy(self.table(batch) @ self.table.weight.T, batch)


def loader(rows, collate=torch.tensor):
    return SimpleNamespace(step=rows, sample_size=10**6, collate_fn=collate)


def test_logits_over_all_items_count_with_their_softmax_and_gradient():
    rows, items, d = 512, 5000, 8
    logits, embeddings, numbers = 4 * rows * items, 4 * rows * d, 8 * rows
    estimate = step_memory(OverAllItems(items, d), loader(rows))
    # Indices are kept for the embedding and for the loss, in one tensor; and the loss's weight, a number.
    assert estimate == pytest.approx(3 * logits + 2 * embeddings + 2 * numbers, rel=1e-3)


def test_what_does_not_depend_on_the_batch_counts_once():
    class Graph(OverAllItems):
        def calculate_loss(self, batch):
            return super().calculate_loss(batch) + self.table.weight.exp().sum()

    with_graph, without = (step_memory(kind(3000, 64), loader(64)) for kind in (Graph, OverAllItems))
    graph = 4 * 3000 * 64
    assert with_graph - without == pytest.approx(2 * graph, rel=0.5)


def test_an_estimate_grows_with_the_batch_and_is_left_out_where_a_model_needs_its_trainer(settings):
    steps = []
    for size in (16, 64):
        config, train, model = built("SASRec", settings, train_batch_size=size)
        steps.append(memory_estimate.check(config, model, train).step)
    assert steps[1] == pytest.approx(4 * steps[0], rel=0.05)
    assert memory_estimate.check(*(built("RecVAE", settings)[index] for index in (0, 2, 1))).step is None


@pytest.mark.parametrize("model", ["SASRecV", "NARMI", "MultiVAE", "LightGCN", "BERT4Rec", "NeuMF"])
def test_the_look_changes_neither_model_nor_rng_nor_loader(model, content_settings, settings):
    chosen = content_settings if model in ("SASRecV", "NARMI") else settings
    if model == "NARMI":
        chosen = chosen | {"encoder": "resnet18", "finetune": "top"}
    config, train, network = built(model, chosen)
    network.eval()
    states = {name: value.clone() for name, value in network.state_dict().items()}
    before = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate(), numbers_of(network))
    shuffled = train.generator.get_state()
    assert memory_estimate.check(config, network, train).step > 0
    assert all(torch.equal(value, states[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), before[0]) and torch.equal(
        train.generator.get_state(), shuffled
    )
    assert (np.random.get_state()[1] == before[1]).all() and random.getstate() == before[2]
    assert numbers_of(network) == before[3] and not network.training
    assert all(parameter.grad is None for parameter in network.parameters())


def most_resident(since=False):
    """Peak of this process's memory, counted anew from a call with ``since``."""
    if since:
        Path("/proc/self/clear_refs").write_text("5")
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    return 1024 * int(line.split()[1])


@pytest.mark.parametrize("model", ["SASRec", "SASRecID"])
def test_parameters_that_do_not_fit_are_refused_before_they_are_taken(model, settings, monkeypatch, capsys):
    argv = ["run", f"--model={model}", "--dataset=tiny", "--hidden_size=8192", "--inner_size=8192"]
    argv += [f"--{key}={value}" for key, value in (settings | {"worker": 0}).items()]
    free(monkeypatch, 300e6)
    before = most_resident(since=True)
    assert cli.main(argv) == 2
    error = capsys.readouterr().err
    assert f"error: Not enough memory for {model}: its 80" in error and "300.0 MB are available" in error
    assert ("take 12.9 GB" in error) == (model == "SASRec") and ("take 3.2 GB" in error) == (
        model == "SASRecID"
    )
    assert most_resident() - before < 700e6


def test_gradients_and_optimiser_that_do_not_fit_are_refused(content_settings, monkeypatch):
    config, train, model = built("SASRecV", content_settings)
    needed = 3 * sum(parameter.nbytes for parameter in model.parameters())
    free(monkeypatch, needed - 1)
    with pytest.raises(
        MicroLensError, match="the gradients of its parameters and the optimiser's state take"
    ):
        memory_estimate.check(config, model, train)
    free(monkeypatch, needed)
    memory_estimate.check(config, model, train)


def test_a_step_that_comes_close_is_a_warning_and_else_one_line_of_the_log(settings, monkeypatch, caplog):
    config, train, model = built("SASRec", settings)
    needed = memory_estimate.check(config, model, train)
    free(monkeypatch, 1.05 * (needed.optimiser + needed.step))
    memory_estimate.check(config, model, train)
    (warning,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert warning.startswith("memory: parameters") and "may not fit" in warning
    monkeypatch.undo()
    folder = Path(run("SASRec", "tiny", config_dict=settings | {"state": "INFO", "epochs": 1})["folder"])
    assert (folder / "log.txt").read_text().count("memory: parameters ") == 1


def test_a_model_that_fits_narrowly_is_the_same_model(settings, monkeypatch):
    """Layers are copied from one that is then thrown away: with it the parameters would not fit."""
    config, train, model = built("SASRec", settings)
    free(monkeypatch, 4 * sum(parameter.nbytes for parameter in model.parameters()))
    calls = []

    def make():
        calls.append(1)
        return config.model_class(config, train._dataset)

    torch.manual_seed(0)
    narrow = memory_estimate.build(config, train._dataset.item_num, make)
    assert len(calls) == 3
    assert all(torch.equal(value, narrow.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_model_that_cannot_be_counted_is_built(settings, monkeypatch):
    class Computes(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.ones(1000))
            self.norm = float(self.table.norm())

    config, *_ = built("BPR", settings)
    free(monkeypatch, 1000)
    assert memory_estimate.build(config, 5, Computes).norm == pytest.approx(1000**0.5)


def test_a_model_of_all_items_by_all_items_is_refused(settings, monkeypatch):
    config, train, _ = built("EASE", settings)
    items = train._dataset.item_num
    free(monkeypatch, 12 * items**2 - 1)
    with pytest.raises(MicroLensError, match="EASE: 3 matrices of all items by all items take"):
        memory_estimate.build(config, items, lambda: None)
    free(monkeypatch, 12 * items**2)
    assert memory_estimate.build(config, items, lambda: None) is None


@pytest.mark.parametrize(
    ("line", "folder", "names"),
    [
        ("0::/a/b", "a", ("memory.max", "memory.current", "inactive_file")),
        (
            "4:cpu,memory:/a/b",
            "memory/a",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ],
)
def test_limits_of_control_groups_count_up_to_the_topmost(line, folder, names, tmp_path):
    listing, mount = tmp_path / "cgroup", tmp_path / "mount"
    listing.write_text(f"9:pids:/x\n{line}\n")
    for path, limit, used in ((mount / folder, "5000", 1000), (mount / folder / "b", "max", 900)):
        path.mkdir(parents=True)
        (path / names[0]).write_text(limit)
        (path / names[1]).write_text(str(used))
        (path / "memory.stat").write_text(f"anon 7\n{names[2]} 200\n")
    assert list(memory._left_in_groups(listing, mount)) == [4200]
    (mount / folder / "b" / names[0]).write_text("800")
    assert list(memory._left_in_groups(listing, mount)) == [100, 4200]


def test_processes_of_one_machine_share_its_memory(monkeypatch):
    free(monkeypatch, 9000)
    cpu = torch.device("cpu")
    monkeypatch.setattr(memory, "_LISTING", Path("nowhere"))
    assert memory.available_memory(cpu) == 9000
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert memory.available_memory(cpu) == 3000
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert memory.available_memory(cpu) == 4500
