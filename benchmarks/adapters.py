"""A training step with adapters beside one that trains the encoder's top, or all of it.

The same encoder with random weights and the same batch; each way trains in a process of its own, and they
take turns. *Cached* steps read what is below the cut from an activation cache in memory. ``lora`` and
``adapter`` have the cut of ``top``. Prints one JSON object as its last line; its ratios say how many times
faster a step is than that of ``full`` and that of ``top``, cached or not, and how many times less memory and
fewer parameters it takes than ``full``.
"""

import argparse
import json
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from steps.apart import Apart
from steps.measure import loss_difference, machine, measure, speedup
from steps.problem import Problem
from train_step import model_of, our_step, settings_of, trainer_of

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


def steps_of(way: str, arguments, folder: Path) -> dict:
    """A step of this way, built in the process that takes it."""
    allow()
    torch.set_num_threads(arguments.threads)
    keep_freed(torch.device(arguments.device))
    problem = problem_of(arguments)
    trainer = trainer_of(problem, folder, settings_for(way, arguments, folder))
    return {way: our_step(trainer, problem.batch(with_media=not way.endswith(CACHED)))}


def problem_of(arguments) -> Problem:
    return Problem.of(arguments.users, arguments.frames, arguments.size)


def trainable_parameters(arguments, folder: Path) -> dict[str, int]:
    """By mode, of the encoder."""
    found = {}
    for mode in MODES:
        model, _ = model_of(problem_of(arguments), settings_for(mode, arguments, folder))
        found[mode] = sum(p.numel() for p in model.item_embedding.encoders().parameters() if p.requires_grad)
    return found


def summary(results: dict, parameters: dict[str, int]) -> list[dict]:
    """A row for each way."""
    rows = []
    for way, found in results.items():
        mode = way.removesuffix(CACHED)
        top = f"top{CACHED}" if way.endswith(CACHED) else "top"
        rows.append(
            {
                "way": way,
                "seconds": round(median(found["seconds"]), 3),
                "cpu_seconds": round(median(found["cpu_seconds"]), 3),
                "peak_memory_bytes": found["peak_memory_bytes"],
                "trainable_parameters": parameters[mode],
                "faster_than_full": speedup(results, "full", way, "cpu_seconds"),
                "faster_than_top": speedup(results, top, way, "cpu_seconds"),
                "memory_of_full": _ratio(results["full"], found),
                "parameters_of_full": round(parameters["full"] / parameters[mode], 1),
                "loss_difference_of_cached": loss_difference(results, way, f"{mode}{CACHED}")
                if f"{mode}{CACHED}" in results
                else None,
            }
        )
    return rows


def _ratio(one: dict, other: dict) -> float | None:
    peaks = one["peak_memory_bytes"], other["peak_memory_bytes"]
    return round(peaks[0] / peaks[1], 2) if all(peaks) else None


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
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        parameters = trainable_parameters(arguments, folder)
        processes = [Apart(steps_of, way, arguments, folder, device=arguments.device) for way in ways()]
        steps = {name: step for each in processes for name, step in each.steps().items()}
        results = measure(steps, arguments.rounds)
        for each in processes:
            each.close()
    about = {"benchmark": "adapters", "machine": machine(torch.device(arguments.device)), **vars(arguments)}
    print(json.dumps(about | {"items": problem_of(arguments).distinct, "ways": summary(results, parameters)}))


if __name__ == "__main__":
    main()
