"""Towers as ONNX files give what the model gives, or are not there, with the reason."""

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from quick import A_FEW, some
from torch import nn
from untrained import untrained_run

from recbole_microlens import cli
from recbole_microlens.cpu.few_frames import FewFramesConv3d
from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.registry import create_encoder
from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.contract import difference
from recbole_microlens.export.given_items import NewItem
from recbole_microlens.export.towers import onnx_export
from recbole_microlens.export.towers.item_tower import ItemTower, Part, item_tower
from recbole_microlens.export.towers.onnx_export import BATCHES, Case, RefusedError, Tower, exported
from recbole_microlens.export.towers.onnx_file import plain
from recbole_microlens.export.towers.user_tower import UserTower, user_tower
from recbole_microlens.export.vectors import read_export, write_export
from recbole_microlens.items.content import ContentItemEmbedding
from recbole_microlens.items.fusion import FUSIONS
from recbole_microlens.items.token_file import written_tokens
from recbole_microlens.items.towers import EncoderTower
from recbole_microlens.models.backbones import backbones
from recbole_microlens.release.item_ids import read_item_ids

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
CLIP = {"frame_size": 32, "num_frames": 2, "worker": 0}
REAL = 1e-4


def rows_of_page(heading):
    """The cells of the table after a heading, by the first of each row."""
    text = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [
        re.split(r" \| ", line.strip("| ").replace(r"\|", "!"))
        for line in text.splitlines()
        if line[:1] == "|"
    ]
    return {row[0]: [cell.replace("!", "|").strip() for cell in row[1:]] for row in rows[2:]}


BACKBONES, ENCODERS = rows_of_page("Models"), rows_of_page("Encoders")


@pytest.fixture
def made(small, tmp_path):
    """Return a function: the name of a model -> a run of it, untrained."""
    return lambda model, **more: untrained_run(tmp_path / f"run-{model}", model, small | more)


@pytest.fixture
def on_content(made, tiny_encoders):
    """Return a function: a run of a model that looks at videos, covers or titles through a few weights."""
    return lambda model, **more: made(model, **tiny_encoders | CLIP | more)


def ran(folder, name, *inputs):
    """The outputs of a tower by onnxruntime alone."""
    session = onnxruntime.InferenceSession(folder / f"{name}_tower.onnx")
    names = [each.name for each in session.get_inputs()]
    return session.run(None, {key: np.asarray(value) for key, value in zip(names, inputs, strict=True)})


def test_the_page_has_a_row_for_every_backbone():
    assert list(BACKBONES) == list(backbones())


@pytest.mark.parametrize("backbone", some(backbones(), *A_FEW))
def test_a_user_tower_is_equal_to_the_model_or_refused_as_the_page_says(backbone, made, tmp_path):
    formula, index, stated = BACKBONES[backbone]
    run = made(f"{backbone}ID")
    manifest = write_export(run, tmp_path / "out", towers=("user",))
    about = manifest["towers"]["user"]
    assert formula == run.kind.formula
    assert index == ("no" if manifest["score"]["vectors"] is None else "yes")
    if about["file"] is None:
        assert stated.startswith("no: ") and stated.removeprefix("no: ") in about["reason"]
        assert not (tmp_path / "out" / "user_tower.onnx").exists()
        return
    assert stated == ("yes" if about["takes_shorter"] else "yes, of the longest length alone")
    check_histories(run, tmp_path / "out")


def check_histories(run, folder):
    """Queries by the files alone are those of the model, for histories that no export was tried on."""
    export = read_export(folder)
    longest = export.manifest["towers"]["user"]["longest"]
    histories = [[7], [2, 2, 5], [*range(1, longest + 1)], [*range(3, longest + 8)], [4, 9, 4, 9]]
    given = np.full(
        (len(histories), longest, export.embeddings.shape[1]), 7.5, np.float32
    )  # padding of any kind
    for row, history in enumerate(histories):
        latest = np.array(history[-longest:]) - 1
        given[row, : len(latest)] = export.embeddings[latest]
    lengths = np.array([min(len(history), longest) for history in histories])
    (found,) = ran(folder, "user", given, lengths)
    asked = run.asked_about([run.item_ids[history].tolist() for history in histories])
    assert difference(found, run.queries(asked).numpy()) < REAL
    assert difference(found @ export.vectors.T, run.scores(asked)[:, 1:].numpy()) < REAL
    if export.manifest["towers"]["user"]["takes_shorter"]:
        (short,) = ran(folder, "user", given[[0, 1, 4], :4], lengths[[0, 1, 4]])
        assert difference(short, found[[0, 1, 4]]) < REAL


def test_a_user_tower_leaves_the_network_as_it_is(made):
    run = made("BERT4RecID")
    asked = run.asked_by("all")
    before, table = run.scores(asked), run.network.item_embedding
    tower = UserTower(run.network, run.kind)
    assert run.network.item_embedding is table and "reconstruct_test_data" not in vars(run.network)
    assert torch.equal(run.scores(asked), before)
    assert table not in list(tower.modules())
    assert max(weight.numel() for weight in tower.parameters()) < 10_000


@pytest.mark.parametrize("model", ["ODMTSASRec", "ODMTGRU4Rec", "ODMTNextItNet"])
def test_of_odmt_too(model, settings, tiny_data, tmp_path):
    items = read_item_ids(tiny_data / "tiny", "tiny")
    files = {name: str(tmp_path / f"{name}.npy") for name in ("text", "image")}
    for path in files.values():
        tokens = np.random.default_rng(0).standard_normal((len(items), 4, 6)).astype(np.float16)
        with written_tokens(Path(path), items, (4, 6), {}) as append:
            append(np.ones((len(items), 4), bool), tokens)
    sizes = {"hidden_size": 8, "inner_size": 8, "merge_heads": 2, "worker": 0, "features": files}
    run = untrained_run(tmp_path / "run", model, settings | sizes)
    manifest = write_export(run, tmp_path / "out")
    width = run.item_vectors().size(1)
    assert manifest["towers"]["user"]["inputs"][0]["shape"] == ["batch", "length", width]
    assert "makes an item of its id and its tokens together" in manifest["refused"]["item tower"]
    check_histories(run, tmp_path / "out")


def test_a_model_of_tables_has_no_user_tower(made, tmp_path):
    manifest = write_export(made("LightGCNID"), tmp_path / "out", towers=("user",))
    assert manifest["refused"] == {
        "user tower": "LightGCNID looks up the vector of a user in a table, and computes none from a history"
    }


def test_shapes_say_what_is_free(made, tmp_path):
    about = write_export(made("BERT4RecID"), tmp_path / "out")["towers"]["user"]
    assert about["inputs"] == [
        {"name": "item_vectors", "dtype": "float32", "shape": ["batch", "length", 16]},
        {"name": "lengths", "dtype": "int64", "shape": ["batch"]},
    ]
    assert about["outputs"] == [{"name": "user_vector", "dtype": "float32", "shape": ["batch", 17]}]
    assert (about["longest"], about["opset"], about["exporter"]) == (10, 18, "torchscript")
    assert about["equal_to_the_model"]["lengths"] == [5, 10]
    assert about["equal_to_the_model"]["batches"] == [1, 2, 7]


# -- files that are not equal -------------------------------------------------------------------------------


class Doubled(nn.Module):
    def forward(self, numbers):
        return 2 * numbers


def doubling(wrong=0.0):
    """A tower that is compared with twice its input, and ``wrong`` more."""
    inputs = [torch.rand(size, 3) for size in BATCHES]
    cases = tuple(Case((given,), (2 * given + wrong,)) for given in inputs)
    return Tower(Doubled().eval(), ("numbers",), ("twice",), cases, ("random",))


def test_an_equal_file_is_found_by_the_first_exporter():
    found = exported(doubling())
    assert (found.exporter, found.takes_shorter) == ("torchscript", False)
    session = onnxruntime.InferenceSession(found.content)
    assert session.run(None, {"numbers": np.ones((4, 3), np.float32)})[0].tolist() == [[2.0] * 3] * 4


def test_a_file_that_differs_is_refused_with_how_much(monkeypatch):
    monkeypatch.setattr(onnx_export, "_attempts", lambda tower: [("torchscript", False)])
    with pytest.raises(RefusedError, match=r"torchscript: it differs by up to \d.*, 0.0001 is allowed"):
        exported(doubling(wrong=0.01))
    exported(doubling(wrong=1e-6))


def test_a_batch_that_was_taken_for_a_constant_is_refused(monkeypatch):
    class Constant(nn.Module):
        def forward(self, numbers):
            return 2 * numbers + torch.zeros(len(numbers), 3)

    monkeypatch.setattr(onnx_export, "_attempts", lambda tower: [("torchscript", False)])
    tower = doubling()
    with pytest.raises(RefusedError, match="torchscript: "):
        exported(Tower(Constant().eval(), tower.inputs, tower.outputs, tower.cases, tower.tried_on))


def test_the_second_exporter_is_tried_where_the_first_is_wrong(monkeypatch):
    right = onnx_export._by_torchscript
    wrong = exported(doubling()).content.replace(b"Mul", b"Sub")
    monkeypatch.setattr(
        onnx_export, "_EXPORTERS", {"torchscript": lambda tower, shorter: wrong, "dynamo": right}
    )
    assert exported(doubling()).exporter == "dynamo"


def test_a_tower_that_differs_is_not_there_and_the_command_says_so(
    made, tmp_path, monkeypatch, capfd, caplog
):
    run = made("SASRecID")
    right = onnx_export._by_torchscript

    def wrong(tower, takes_shorter):
        model = onnx.load_model_from_string(right(tower, takes_shorter))
        for tensor in model.graph.initializer:
            if tensor.name.endswith("LayerNorm.weight"):
                bigger = onnx.numpy_helper.to_array(tensor) * np.float32(1.001)
                tensor.CopyFrom(onnx.numpy_helper.from_array(bigger, tensor.name))
        return model.SerializeToString()

    monkeypatch.setattr(onnx_export, "_EXPORTERS", {"torchscript": wrong, "dynamo": wrong})
    command = ["export", str(run.folder), "--out", str(tmp_path / "out")]
    assert cli.main(command) == 0
    manifest = read_export(tmp_path / "out").manifest
    assert manifest["towers"]["user"]["file"] is None
    assert "differs by up to" in manifest["refused"]["user tower"]
    assert not list((tmp_path / "out").glob("*.onnx"))
    assert "left out: user tower: no exporter of torch" in caplog.text
    assert cli.main([*command, "--overwrite", "--towers", "user"]) == 2
    assert "error: --towers: there is no user tower: no exporter" in capfd.readouterr().err
    assert read_export(tmp_path / "out").vectors is not None


def test_nothing_that_the_exporters_say_is_shown(made, tmp_path, capfd):
    run = made("GRU4RecID")  # its export warns of batches, and is traced
    assert cli.main(["export", str(run.folder), "--out", str(tmp_path / "out"), "--towers", "user"]) == 0
    printed = capfd.readouterr()
    assert "Warning" not in printed.err and "graph" not in printed.err
    assert len(printed.out.splitlines()) == 3


def test_no_file_names_the_source_it_was_made_from():
    """The exporter of torch.export writes the stack of every operation, with the paths of this machine."""
    model = onnx.load_model_from_string(exported(doubling()).content)
    noted = [model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.input]
    for part in noted:
        part.doc_string = "/home/me/secret.py"
        if hasattr(part, "metadata_props"):
            part.metadata_props.add(key="stack_trace", value="/home/me/secret.py")
    assert len(noted) > 4 and b"secret" in model.SerializeToString()
    clean = plain(model.SerializeToString(), {"numbers": ["batch", 3], "twice": ["batch", 3]})
    assert b"secret" not in clean and b"stack_trace" not in clean
    assert (
        onnxruntime.InferenceSession(clean).run(None, {"numbers": np.ones((1, 3), np.float32)})[0][0, 0] == 2
    )


def test_the_same_run_gives_the_same_towers(on_content, tmp_path):
    run = on_content("CORET")
    write_export(run, tmp_path / "out")
    write_export(run, tmp_path / "second")
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()


def test_packages_that_are_missing_are_named_before_anything_is_done(made, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "PACKAGES", ("onnx", "onnx_of_tomorrow"))
    run = made("SASRecID")
    with pytest.raises(MicroLensError, match=r"onnx_of_tomorrow, which is not installed. Run: pip install"):
        write_export(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    write_export(run, tmp_path / "out", towers=())


# -- item towers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        ("SASRecV", {"frames": ["batch", 2, 32, 32, 3]}),
        ("SASRecI", {"cover": ["batch", 32, 32, 3]}),
        ("SASRecT", {"token_ids": ["batch", "length"], "attention_mask": ["batch", "length"]}),
    ],
)
def test_an_item_tower_gives_the_embeddings_of_the_run(model, inputs, on_content, tmp_path):
    run = on_content(model)
    about = write_export(run, tmp_path / "out", towers=("item",))["towers"]["item"]
    assert {each["name"]: each["shape"] for each in about["inputs"]} == inputs
    assert about["equal_to_the_model"]["on"] == ["items of the run", "random content"]
    export = read_export(tmp_path / "out")
    tower = item_tower(run, has_index_vector=False)
    first = tower.cases[1]  # two items of the dataset
    (found,) = ran(tmp_path / "out", "item", *(value.numpy() for value in first.inputs))
    places = np.linspace(1, 20, 10).astype(int)[1:3] - 1
    assert difference(found, export.embeddings[places]) < REAL


def test_frames_and_tokens_have_the_type_that_stores_and_tokenizers_give(on_content, tmp_path):
    towers = write_export(on_content("SASRecV"), tmp_path / "v")["towers"]
    assert towers["item"]["inputs"][0]["dtype"] == "uint8"
    said = towers["item"]["preprocessing"]["video"]
    assert (said["frames"], said["num_frames"], said["interval"], said["height"]) == (2, 2, 1, 32)
    assert said["channels"] == "RGB, last"
    towers = write_export(on_content("SASRecT"), tmp_path / "t")["towers"]
    assert [each["dtype"] for each in towers["item"]["inputs"]] == ["int64", "int64"]
    assert towers["item"]["preprocessing"]["text"]["longest"] == 24


@pytest.mark.parametrize("fusion", FUSIONS)
def test_several_modalities_are_several_inputs_of_any_fusion(fusion, on_content, tmp_path):
    run = on_content("SASRecM", fusion=fusion)
    about = write_export(run, tmp_path / "out", towers=("item",))["towers"]["item"]
    names = [each["name"] for each in about["inputs"]]
    assert names == ["token_ids", "attention_mask", "cover", "frames"]
    case = item_tower(run, has_index_vector=False).cases[-1]  # seven at random
    (found,) = ran(tmp_path / "out", "item", *(value.numpy() for value in case.inputs))
    assert difference(found, case.expected[0].numpy()) < REAL


def test_features_are_an_input_as_they_are(made, features, tmp_path):
    run = made("NARMV", features=features)
    about = write_export(run, tmp_path / "out", towers=("item",))["towers"]["item"]
    assert about["inputs"] == [{"name": "video_features", "dtype": "float32", "shape": ["batch", 6]}]
    rows = np.load(features)[[int(item) - 1 for item in run.item_ids[1:]]]
    (found,) = ran(tmp_path / "out", "item", rows)
    assert difference(found, run.item_vectors()[1:].numpy()) < REAL


@pytest.mark.parametrize(("backbone", "cold"), [("CORE", None), ("BERT4Rec", "content"), ("NPE", None)])
def test_where_another_vector_is_searched_the_tower_gives_it_too(backbone, cold, made, features, tmp_path):
    run = made(f"{backbone}V", features=features)
    about = write_export(run, tmp_path / "out", towers=("item",), cold=cold)["towers"]["item"]
    assert [each["name"] for each in about["outputs"]] == ["item_vector", "index_vector"]
    vector = np.random.default_rng(1).normal(size=6).astype(np.float32)
    embedding, index_vector = ran(tmp_path / "out", "item", vector[None])
    run.add_items({"new": NewItem("new", features={"video": vector})}, cold)
    assert difference(embedding, run.item_vectors()[-1:].numpy()) < REAL
    assert difference(index_vector, run.index_vectors()[-1:].numpy()) < REAL


def test_ids_are_zeros_if_that_is_said(made, features, tmp_path):
    run = made("SASRecIDV", features=features, fusion="concat")
    refused = write_export(run, tmp_path / "out", towers=("item",))["refused"]["item tower"]
    assert "also has an embedding by id" in refused and "--cold=content" in refused
    write_export(run, tmp_path / "out", towers=("item",), cold="content", overwrite=True)
    vector = np.random.default_rng(1).normal(size=(3, 6)).astype(np.float32)
    (found,) = ran(tmp_path / "out", "item", vector)
    given = [NewItem(str(row), features={"video": vector[row]}) for row in range(3)]
    assert difference(found, run.encoder.encode(given).numpy()) < REAL


@pytest.mark.parametrize(
    ("model", "cold", "said"),
    [
        ("SASRecID", "content", "knows items by id alone"),
        ("SASRec", None, "knows items by id alone"),
        ("HGNV", "content", "scores items by a table of ids"),
    ],
)
def test_what_has_no_item_tower_says_why(model, cold, said, made, features, tmp_path):
    run = made(model, **({"features": features} if model.endswith("V") else {}))
    command = ["export", str(run.folder), "--out", str(tmp_path / "out"), *(["--cold", cold] if cold else [])]
    assert cli.main(command) == 0
    assert said in read_export(tmp_path / "out").manifest["refused"]["item tower"]
    with pytest.raises(MicroLensError, match="holds no item tower: "):
        read_export(tmp_path / "out").tower("item")
    assert cli.main([*command, "--overwrite", "--towers=item"]) == 2


def test_the_convolutions_of_training_are_not_in_the_way(made):
    """On a CPU a run trains with convolutions that leave out padding; its export has torch's own."""
    run = made("SASRecV", video_encoder="x3d_xs", encoder=None, encoder_weights="none", **CLIP)
    kinds = {type(module) for module in run.encoder.network.modules()}
    assert FewFramesConv3d not in kinds and nn.Conv3d in kinds


def test_new_items_are_what_the_tower_is_tried_on(on_content, tiny_release, tmp_path):
    (tmp_path / "new").mkdir()
    for item in ("3", "7"):
        video = next(Path(tiny_release).rglob(f"*_videos/{item}.mp4"))
        (tmp_path / "new" / f"new{item}.mp4").write_bytes(video.read_bytes())
    manifest = write_export(on_content("SASRecV"), tmp_path / "out", new_items=tmp_path / "new")
    assert manifest["towers"]["item"]["equal_to_the_model"]["on"] == ["new items", "random content"]
    assert manifest["items"]["count"] == 22


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ENCODERS)
def test_item_towers_of_real_encoders_are_equal(encoder):
    modality, frames, size, exporter = ENCODERS[encoder]
    frames, size = int(frames.replace("-", "1")), int(size.replace("-", "32"))
    options = EncoderOptions(frames=frames, size=size, weights="none")
    tower = EncoderTower(modality, create_encoder(encoder, options, modality), 16)
    network = ContentItemEmbedding(nn.ModuleDict({modality: tower}), 1, 16).eval().requires_grad_(False)
    names, part, make = {
        "video": (("frames",), (frames, size, size, 3), pixels),
        "image": (("cover",), (size, size, 3), pixels),
        "text": (("token_ids", "attention_mask"), (2, 16), tokens),
    }[modality]
    module = ItemTower(network, [Part(modality, modality, names, part)], None).eval()
    cases = []
    for count in BATCHES:
        given = make(count, part)
        with torch.no_grad():
            lengths = given[1].sum(1) if modality == "text" else None
            cases.append(Case(given, module(*given), lengths))
    sequences = names if modality == "text" else ()
    found = exported(Tower(module, names, ("item_vector",), tuple(cases), ("random content",), sequences))
    assert found.exporter == exporter
    assert found.takes_shorter == (modality == "text")


def pixels(count, shape):
    return (torch.randint(0, 256, (count, *shape), dtype=torch.uint8),)


def tokens(count, shape):
    longest = shape[1]
    mask = (torch.arange(longest) < torch.tensor([[5], [longest], [1], *[[7]] * 4])[:count]).long()
    return torch.randint(1, 256, (count, longest)) * mask, mask


@pytest.mark.slow
@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
@pytest.mark.parametrize("backbone", ["GRU4Rec", "NARM"])
def test_both_exporters_are_right_about_gru(backbone, exporter, made, monkeypatch):
    """That of dynamo was not, https://github.com/pytorch/pytorch/issues/189225."""
    monkeypatch.setattr(onnx_export, "_attempts", lambda tower: [(exporter, False)])
    found = exported(user_tower(made(f"{backbone}ID", num_layers=2)))
    assert found.exporter == exporter and b".py" not in found.content
