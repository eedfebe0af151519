"""Every option of every sub-command with odd values: one sentence, code 2, nothing outside --data-path."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from .cases import Generator, require, require_clean, whole_outputs
from .seeds import FEW, World
from .values import plain_texts

_ODD = (
    *(
        "",
        " ",
        "abc",
        "-1",
        "0",
        "1.5",
        "nan",
        "inf",
        "1e3",
        "9" * 30,
        "9" * 5000,
        "a" * 300,
        "é",
        "\x1b[31m",
        "🦊",
    ),
    *(
        "../x",
        "..",
        ".",
        "a/b",
        "/nonexistent/x",
        "/dev/null",
        "/dev/full",
        "/etc/passwd",
        "/proc/self/x",
        "a\nb",
    ),
    *(
        "x=y",
        "user=",
        "=",
        "user=a,user=b",
        ",",
        "play,like",
        "[1]",
        "--",
        "-",
        "-x",
        "~",
        "*",
        "a b",
        '"',
        "None",
    ),
)
_FEW = ("--data_path=data", "--topk=[2]", "--valid_metric=Hit@2", "--use_gpu=false", "--epochs=1")
_FEW += ("--user_inter_num_interval=[3,inf)",)
# Of each sub-command: words that make a good command of it, and the options that take a value.
_COMMANDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # From a folder: no odd value makes it ask an address.
    "download": (
        ("few", "--out=out", "--manifest={seeds}/mirror/manifest.yaml", "--from={seeds}/mirror")
        + ("--accept-licence",),
        ("--only", "--from", "--manifest", ""),
    ),
    "filter": (
        ("{few}", "--out=out", "--min-user-clicks=1", "--workers=1"),
        ("--min-title-length", "--max-cover-single-colour", "--max-video-single-colour")
        + ("--min-cover-bytes", "--min-video-bytes", "--duplicate-bits", "--min-user-clicks")
        + ("--max-clicks-per-minute", "--media", "--columns", "--workers", ""),
    ),
    "convert": (
        ("{few}", "--dataset=d", "--data-path=out"),
        ("--dataset", "--data-path", "--columns", "--events", "--repeats", ""),
    ),
    "frames": (
        ("{few}", "--dataset=few", "--data-path=data", "--size=32", "--workers=1", "--num-frames=2"),
        ("--dataset", "--data-path", "--num-frames", "--interval", "--size", "--quality", "--workers")
        + ("--shard", "--engine", "--address", "--parts", ""),
    ),
    "covers": (
        ("{few}", "--dataset=few", "--data-path=data", "--size=32", "--workers=1"),
        ("--dataset", "--data-path", "--size", "--quality", "--workers", "--shard", ""),
    ),
    "audio": (
        ("{few}", "--dataset=few", "--data-path=data", "--seconds=0.5", "--workers=1", "--allow-missing"),
        ("--dataset", "--data-path", "--sample-rate", "--seconds", "--windows", "--codec", "--workers", ""),
    ),
    "merge": (("--dataset=few", "--data-path=data"), ("--dataset", "--data-path", "--features", "")),
    "verify": (("--dataset=few", "--data-path=data"), ("--dataset", "--data-path", "")),
    # A seed that is refused: with a good one it makes 200 videos before it comes to the rest.
    "sample": (("--seed=-1", "--data-path=out", "--release=release"), ("--data-path", "--release", "")),
    "extract": (
        ("--dataset=few", "--encoder=two_convolutions", "--encoder-weights=none", "--data-path=data")
        + ("--frame-size=32", "--num-frames=2", "--workers=0", "--out=features.npy"),
        ("--encoder", "--encoder-weights", "--run", "--modality", "--frame-size", "--num-frames", "--output")
        + ("--dataset", "--out", "--batch-size", "--workers", "--data-path", "--shard")
        + ("--engine", "--address", "--parts", ""),
    ),
    "encoders": ((), ("--modality", "--json", "--markdown", "")),
    "compare": (
        ("--models=Pop", "--dataset=few", "--dry-run", *_FEW),
        ("--models", "--table", "--grid", "--dataset", "--seeds", "--jobs", "--baseline", "--metric")
        + ("--out", "--config_files", "--checkpoint_dir", ""),
    ),
    "tune": (
        ("--model=Pop", "--dataset=few", "--params={file}", "--dry-run", *_FEW),
        ("--model", "--params", "--method", "--trials", "--search-seed", "--seeds", "--jobs", ""),
    ),
    "analyse": (("{seeds}/run-id", "--ranks-only"), ("--metric", "--groups", "")),
    "plot": (("bars", "{seeds}/run-id", "--out=bars.svg"), ("--metric", "--groups", "--out", "--videos", "")),
    "report": (
        ("{seeds}/run-id", "--ranks-only", "--out=report.html"),
        ("--metric", "--groups", "--out", "--videos", ""),
    ),
    "recommend": (
        ("{seeds}/run-id", "--users=all", "-k=2", "--device=cpu", "--out=lists.csv"),
        ("--users", "--history", "-k", "--items", "--on-unknown", "--at", "--new-videos", "--cold", "--index")
        + ("--out", "--device", "--precision", "--data-path", ""),
    ),
    "audience": (
        ("{seeds}/run-id", "--items=1", "-k=2", "--device=cpu", "--out=users.csv"),
        ("--items", "--video", "--cover", "--title", "--new-videos", "-k", "--out", "--device", ""),
    ),
    "export": (
        ("{seeds}/run-id", "--no-onnx", "--out=vectors"),
        ("--out", "--precision", "--towers", "--new-videos", "--cold", ""),
    ),
    "page": (
        ("{seeds}/run-id", "--users=2", "-k=2", "--out=page.html"),
        ("--users", "-k", "--new-videos", "--out", "--data-path", "--device", ""),
    ),
    # An address that is refused without a token: with a good one it would serve until it is told to end.
    "serve": (
        ("{seeds}/run-id", "--host=192.0.2.1", "--port=0", "--state=state"),
        ("--index", "--host", "--port", "--known-as", "--state", "--device", "--data-path", "--threads")
        + ("--max-requests", "--max-uploads", "--max-upload-mb", "--decodes", "--decode-seconds", ""),
    ),
    "models": ((), ("--markdown", "")),
    "cache": (
        ("prune", "few", "--data-path=data", "--dry-run"),
        ("--data-path", "--folder", "--older-than", "--name", ""),
    ),
    # Without a cache to build: it says so after everything else was looked at.
    "cache build": (
        ("few", "--model=SASRecV", "--data-path=data", "--activation_cache=off", "--encoder=two_convolutions")
        + ("--encoder_weights=none", "--frame_size=32", "--num_frames=2", "--worker=0", *_FEW[1:]),
        ("--model", "--dataset", "--data-path", "--shard", "--engine", "--address", "--parts", ""),
    ),
    "run": (
        ("--model=Pop", "--dataset=few", "--data_path=data", "--topk=[2]", "--valid_metric=Hit@2")
        + ("--use_gpu=false", "--state=WARNING", "--user_inter_num_interval=[3,inf)", "--epochs=1"),
        ("--model", "--dataset", "--config_files", "--preset", "--resume", "--data_path")
        + ("--checkpoint_dir", ""),
    ),
}  # fmt: skip

plans = st.sampled_from(tuple(_COMMANDS)).flatmap(
    lambda command: st.fixed_dictionaries(
        {
            "command": st.just(command),
            "option": st.sampled_from(_COMMANDS[command][1]),
            "value": st.sampled_from(_ODD) | plain_texts,
            "form": st.sampled_from(("=", " ", "last")),
        }
    )
)


def check(plan: dict, world: World, folder: Path) -> None:
    if "\0" in plan["value"]:
        return  # No command line can hold it.
    work = folder / "work"
    work.mkdir()
    world.copy("data", work)
    (work / "file").write_text("a file\n")
    names = {"few": world.seeds / FEW, "seeds": world.seeds, "file": work / "file"}
    given = [word.format(**names) for word in _COMMANDS[plan["command"]][0]]
    option, value = plan["option"], plan["value"]
    if not option:
        given = [*given, value] if plan["form"] == "last" else [value, *given[1:]]
    else:
        given = [word for word in given if plan["form"] == "last" or not word.startswith(f"{option}=")]
        given += [option, value] if plan["form"] == " " else [f"{option}={value}"]
    with whole_outputs(folder):
        outcome = world.run(work, *plan["command"].split(), *given, seconds=60)
    require_clean(outcome, (0, 1, 2))
    beside = [path.name for path in folder.iterdir() if path != work]
    require(not beside, f"written outside the working directory: {beside}", outcome)


GENERATOR = Generator("options", plans, check, share=10)
