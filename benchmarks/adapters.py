"""A training step with adapters beside one that trains the encoder's top, or all of it.

The same encoder with random weights and the same batch; the ways take turns in one process. *Cached* steps
read what is below the cut from an activation cache in memory. ``lora`` and ``adapter`` have the cut of
``top``. Prints one JSON object as its last line; its ratios say how many times faster a step is than that of
``full`` and that of ``top``, cached or not, in processor time, and how many times less memory and fewer
parameters it takes than ``full``.

Memory is counted: the tensors that a step keeps for its backward pass, and the gradients and Adam's two
states of the encoder's parameters that train. The peak stands beside it: by how much a process of its own
grows in two steps, with the weights and the cache in memory before; on a GPU the peak of its allocator, with
the weights.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from steps.measure import loss_difference, machine, measure, speedup, timed
from steps.peak import peak_growth
from steps.problem import Problem
from train_step import our_step, settings_of, trainer_of

from recbole_microlens.cpu.process_memory import allow, keep_freed

MODES = ("full", "top", "lora", "adapter", "side")
CACHED = ", cached"


def ways() -> list[str]:
    """Modes, those with something below the cut also cached."""
    return [*MODES, *(f"{mode}{CACHED}" for mode in MODES[1:])]


def settings_for(way: str, arguments, folder: Path) -> dict:
    """The settings of a run that trains in this way."""
    is_cached = way.endswith(CACHED)
    return settings_of(
        arguments,
        folder,
        finetune=way.removesuffix(CACHED),
        finetune_stages=arguments.stages,
        activation_cache=str(folder / "cache") if is_cached else "off",
    )


def trainer_for(way: str, arguments, folder: Path):
    """A trainer of this way, and its batch."""
    problem = problem_of(arguments)
    trainer = trainer_of(problem, folder, settings_for(way, arguments, folder))
    return trainer, problem.batch(with_media=not way.endswith(CACHED))


def step_of(way: str, arguments, folder: Path):
    """A step of this way, in the process that calls it."""
    torch.set_num_threads(arguments.threads)
    return our_step(*trainer_for(way, arguments, folder))


def bytes_kept(trainer, batch) -> int:
    """What a step keeps for its backward pass, apart from parameters and buffers."""
    model = trainer.model.train()
    known = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in known:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.calculate_loss(batch.to(trainer.device))
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def trained_parameters(trainer) -> int:
    """Of the encoder."""
    encoders = trainer.model.item_embedding.encoders()
    return sum(parameter.numel() for parameter in encoders.parameters() if parameter.requires_grad)


def problem_of(arguments) -> Problem:
    return Problem.of(arguments.users, arguments.frames, arguments.size)


def summary(results: dict, parameters: dict[str, int], kept: dict[str, int], peaks: dict) -> list[dict]:
    """A row for each way."""
    memory = {way: kept[way] + 3 * 4 * parameters[way] for way in results}
    rows = []
    for way, found in results.items():
        mode = way.removesuffix(CACHED)
        cached = f"{mode}{CACHED}"
        row = {
            "way": way,
            "seconds": round(median(found["seconds"]), 3),
            "cpu_seconds": round(median(found["cpu_seconds"]), 3),
            "memory_bytes": memory[way],
            "peak_memory_bytes": peaks[way],
            "trained_parameters": parameters[way],
            "faster_than_full": speedup(results, "full", way, "cpu_seconds"),
            "faster_than_top": speedup(results, way.replace(mode, "top"), way, "cpu_seconds"),
            "less_memory_than_full": round(memory["full"] / memory[way], 1),
            "lower_peak_than_full": round(peaks["full"] / peaks[way], 1) if peaks[way] else None,
            "fewer_parameters_than_full": round(parameters["full"] / parameters[way], 1),
        }
        if cached in results:
            row["loss_difference_of_cached"] = loss_difference(results, way, cached)
        rows.append(row)
    return rows


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="dinov2_small")
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--users", type=int, default=3)
    parser.add_argument("--stages", type=int, default=2, help="above the cut, for top, lora and adapter")
    parser.add_argument("--hidden_size", type=int, default=256)
    parser.add_argument("--cache_dtype", default="fp32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--short", action="store_true", help="a small encoder and clip: measures nothing")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.encoder, arguments.frames, arguments.size = "x3d_xs", 2, 32
        arguments.rounds, arguments.hidden_size = 1, 16
    return arguments


def main() -> None:
    arguments = parse()
    allow()
    device = torch.device(arguments.device)
    torch.set_num_threads(arguments.threads)
    keep_freed(device)
    with TemporaryDirectory() as scratch:
        trainers = {way: trainer_for(way, arguments, Path(scratch)) for way in ways()}
        kept = {way: bytes_kept(*pair) for way, pair in trainers.items()}
        parameters = {way: trained_parameters(trainer) for way, (trainer, _) in trainers.items()}
        steps = {way: partial(timed, our_step(*pair), device) for way, pair in trainers.items()}
        results = measure(steps, arguments.rounds)
        peaks = {
            way: peak_growth(step_of, way, arguments, Path(scratch), device=arguments.device)
            for way in ways()
        }
    about = {"benchmark": "adapters", "machine": machine(device), **vars(arguments)}
    rows = summary(results, parameters, kept, peaks)
    print(json.dumps(about | {"items": problem_of(arguments).distinct, "ways": rows}))


if __name__ == "__main__":
    main()
