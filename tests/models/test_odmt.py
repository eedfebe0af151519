"""ODMT: the released code's numbers, what each part sees, and what a run of it does."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_cases.odmt import outcome
from tiny import WITHOUT_DROPOUT

from recbole_microlens import cli, run
from recbole_microlens.config import Config, model_class
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.merged_attention import MergedAttention
from recbole_microlens.items.token_file import open_tokens, written_tokens
from recbole_microlens.losses import in_batch_softmax
from recbole_microlens.models.distillation import distillation, ramp_up
from recbole_microlens.models.odmt import NAMES
from recbole_microlens.quick_start import load
from recbole_microlens.release.item_ids import read_item_ids
from recbole_microlens.training.preparation import prepare_data
from recbole_microlens.training.resumable_trainer import LAST
from recbole_microlens.training.transfer import start_from

GOLDEN = Path(__file__).parents[1] / "golden" / "odmt_a.npz"
SMALL = {
    "hidden_size": 8,
    "inner_size": 32,
    "merge_heads": 2,
    "train_batch_size": 12,
    "worker": 0,
    "precision": "fp32",
}


def write_tokens(path, item_ids, n_tokens, dim, seed=0):
    rng = np.random.default_rng(seed)
    tokens = rng.standard_normal((len(item_ids), n_tokens, dim)).astype(np.float16)
    real = rng.random((len(item_ids), n_tokens)) < 0.7
    real[:, 0] = True
    with written_tokens(path, item_ids, (n_tokens, dim), {}) as append:
        append(real, tokens)
    return tokens


@pytest.fixture
def files(tiny_data, tmp_path):
    """Tokens of the titles and the covers of ``tiny``."""
    items = read_item_ids(tiny_data / "tiny", "tiny")
    sizes = {"text": (4, 6), "image": (5, 6)}
    for seed, (name, size) in enumerate(sizes.items()):
        write_tokens(tmp_path / f"{name}.npy", items, *size, seed=seed)
    return {name: str(tmp_path / f"{name}.npy") for name in sizes}


@pytest.fixture
def made(settings, files):
    """Return a function (name, settings) -> (model, training batches, validation batches)."""

    def make(name="ODMTSASRec", **more):
        chosen = settings | SMALL | WITHOUT_DROPOUT | {"features": files, "merge_dropout": 0.0} | more
        config = Config(name, "tiny", config_dict=chosen)
        train, valid, _ = prepare_data(config, create_dataset(config))
        torch.manual_seed(0)
        return config.model_class(config, train._dataset), train, valid

    return make


def test_losses_and_gradients_are_those_of_the_released_code():
    case = dict(np.load(GOLDEN))
    found = outcome(case)
    expected = {key: value for key, value in case.items() if key in found}
    assert len([key for key in expected if key.startswith("grad.")]) == 124
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, atol=1e-5, err_msg=key)


def test_the_weight_of_the_distillation_rises_until_alpha_and_stays():
    assert ramp_up(3, 50) == pytest.approx(math.exp(-5 * (47 / 50) ** 2))
    assert [ramp_up(epoch, 50) for epoch in (50, 51, 200)] == [1, 1, 1]
    assert [ramp_up(epoch, 0.25) for epoch in (1, 9)] == [0.25, 0.25]  # below 1 it is the weight itself


def test_distillation_is_a_cross_entropy_whose_teacher_learns_and_whose_left_out_columns_do_not_count():
    student, teacher = torch.randn(2, 3, 5, dtype=torch.float64)
    left_out = torch.tensor([False, True, False, False, True])
    logits = [each.masked_fill(left_out, -torch.inf).requires_grad_() for each in (student, teacher)]
    loss = distillation(*logits, temperature=0.5)
    few = [each[:, ~left_out] / 0.5 for each in (student, teacher)]
    expected = -(few[1].softmax(1) * few[0].log_softmax(1)).sum(1).mean() * 0.25
    torch.testing.assert_close(loss, expected)
    loss.backward()
    for each in logits:
        assert torch.isfinite(each.grad).all()
        assert (each.grad[:, left_out] == 0).all() and each.grad.abs().sum() > 0


def test_text_and_image_see_each_other_and_not_the_id_which_sees_all():
    torch.manual_seed(0)
    merged = MergedAttention(["id", "text", "image"], 8, layers=2, heads=2, dropout=0.3).eval()
    real = torch.tensor([[True, True, False], [True, False, True]])
    given = {"id": torch.randn(2, 8), "text": torch.randn(2, 3, 8), "image": torch.randn(2, 4, 8)}
    every = torch.ones(2, 4, dtype=torch.bool)

    def outputs(**other):
        parts = given | other
        found = merged([parts["id"], (parts["text"], real), (parts["image"], every)])
        return dict(zip(("id", "text", "image"), found.chunk(3, dim=1), strict=True))

    def moved(**other):
        return {
            name for name, value in outputs(**other).items() if not torch.allclose(value, outputs()[name])
        }

    assert moved(id=given["id"] + 1) == {"id"}
    assert moved(image=given["image"] * 2) == {"id", "text", "image"}
    changed = given["text"].clone()
    changed[0, 1] += 1
    assert moved(text=changed) == {"id", "text", "image"}
    padding = given["text"].clone()
    padding[0, 2], padding[1, 1] = 9.0, 9.0
    assert moved(text=padding) == set()


@pytest.mark.parametrize("name", NAMES)
def test_loss_is_that_of_each_head_and_the_weighted_distillation(made, name):
    model, train, _ = made(name)
    model.train()
    model.epoch = 20
    batch = next(iter(train))
    found = {}
    model.sequence_loss = lambda *given: found.update(given=given) or given[0].sum()
    model.calculate_loss(batch)
    states, embeddings, item_ids, mask = found["given"]
    del model.sequence_loss
    parts = list(zip(states.chunk(3, -1), embeddings.chunk(3, -1), strict=True))
    expected = sum(in_batch_softmax(*part, item_ids, mask, model.log_popularity) for part in parts)
    cross_entropy, taught = model.losses(*found["given"])
    torch.testing.assert_close(cross_entropy, expected)
    model.epoch = 50
    torch.testing.assert_close(taught, model.losses(*found["given"])[1] * math.exp(-5 * 0.6**2))
    model.epoch = 20
    torch.testing.assert_close(model.calculate_loss(batch), cross_entropy + taught)


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_the_mean_of_three_products_and_a_state_sees_no_later_item(made, name):
    model, train, valid = made(name)
    model.eval()
    interaction = next(iter(valid))[0]
    with torch.no_grad():
        model.fill_item_table(train.reader.all_items(8, 0))
        table, scores = model.item_embedding.weight, model.full_sort_predict(interaction)
        sequence, length = interaction["item_id_list"], interaction["item_length"]
        states = model.forward(sequence, length)
        products = [s @ t.T for s, t in zip(states.chunk(3, 1), table.chunk(3, 1), strict=True)]
        torch.testing.assert_close(scores, sum(products) / 3)
        one = model.predict(interaction)
        torch.testing.assert_close(one, scores[torch.arange(len(scores)), interaction["item_id"]])
        shorter = sequence.clone()
        shorter[:, 1:] = 0
        later = model.states(sequence, length)[:, 0]
        torch.testing.assert_close(model.states(shorter, torch.ones_like(length))[:, 0], later)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_mixed_precision_gives_nearly_the_same_loss_and_finite_gradients(made, name, dtype):
    model, train, _ = made(name)
    model.train()
    model.epoch = 40
    batch = next(iter(train))
    exact = model.calculate_loss(batch)
    with torch.autocast("cpu", dtype):
        loss = model.calculate_loss(batch)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(exact.item(), rel=0.02)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {"users", "item_embedding"}


def test_items_in_chunks_give_the_same_loss_and_gradients(made):
    found = []
    for chunk in (None, 5):
        model, train, _ = made(encode_chunk=chunk)
        model.train()
        loss = model.calculate_loss(next(iter(train)))
        loss.backward()
        found.append((loss.detach(), [p.grad for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


def test_another_dataset_may_start_from_its_towers_and_user_models_but_not_from_its_ids(
    made, settings, files
):
    first = run("ODMTSASRec", "tiny", config_dict=settings | SMALL | {"features": files, "epochs": 1})
    model, *_ = made(init_from=first["folder"])
    config = Config("ODMTSASRec", "tiny", config_dict=settings | SMALL | {"features": files})
    before = model.item_embedding.towers["id"].table.weight.clone()
    start_from(model, config, Path(first["folder"]))
    saved = load(first["folder"]).model.state_dict()
    for name, value in model.state_dict().items():
        if "towers.id." not in name:
            torch.testing.assert_close(value, saved[name])
    torch.testing.assert_close(model.item_embedding.towers["id"].table.weight, before)
    by_id = run("SASRecID", "tiny", config_dict=settings | SMALL | {"epochs": 1})
    with pytest.raises(
        MicroLensError, match="nothing of .* fits ODMTSASRec .*user model: that of the run is"
    ):
        start_from(model, config, Path(by_id["folder"]))


def test_each_user_model_is_of_its_own(made):
    model, train, _ = made()
    batch = next(iter(train))
    of_text = {id(p) for p in model.users["text"].parameters()}
    assert not of_text & {id(p) for p in model.users["id"].parameters()}
    with torch.no_grad(), model.item_embedding.encode_batch(batch.media):
        before = model.states(batch["item_id_list"], batch["item_length"]).chunk(3, -1)
        model.users["text"].position_embedding.weight += 1.0 * torch.randn(8)
        after = model.states(batch["item_id_list"], batch["item_length"]).chunk(3, -1)
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, False, True]


def test_ids_start_from_the_first_tokens(made, tiny_data, tmp_path):
    items = read_item_ids(tiny_data / "tiny", "tiny")
    text = write_tokens(tmp_path / "t.npy", items, 3, 6, seed=5)
    image = write_tokens(tmp_path / "i.npy", items[:-1], 2, 6, seed=6)
    both = {"text": str(tmp_path / "t.npy"), "image": str(tmp_path / "i.npy")}
    model, train, _ = made(features=both)
    table = model.item_embedding.towers["id"].table
    numbers = train._dataset.token2id("item_id", items)
    expected = text[:, 0].astype(np.float32)
    expected[:-1] += image[:, 0]  # the last item has no image
    np.testing.assert_allclose(table.weight[numbers].detach(), expected / 2, atol=1e-6)
    assert table.weight.requires_grad and (table.weight[0] == 0).all()
    model, *_ = made(features=both, id_init="text")
    np.testing.assert_array_equal(
        model.item_embedding.towers["id"].table.weight[numbers].detach(), text[:, 0].astype(np.float32)
    )


def test_tokens_that_no_file_is_given_for_are_made_once(settings, files, tiny_data, caplog):
    caplog.set_level("INFO")
    encoders = {"image_encoder": "resnet18", "encoder_weights": "none", "frame_size": 32, "state": "INFO"}
    chosen = settings | SMALL | encoders | {"features": {"text": files["text"]}, "epochs": 1}
    results, made = [], []
    for _ in range(2):
        caplog.clear()
        results.append(run("ODMTSASRec", "tiny", config_dict=chosen)["test_result"])
        made.append("is made once" in caplog.text)
    assert made == [True, False] and results[0] == results[1]
    (path,) = (tiny_data / "tiny" / "features").glob("image-resnet18-tokens-*[0-9a-f].npy")
    assert open_tokens(path).rows.shape == (20, 2, 512)


def test_one_modality_beside_ids_will_do(made, files):
    model, train, _ = made(item_modality=["id", "text"], features=files["text"])
    assert list(model.users) == ["id", "text"] and model.item_embedding.embedding_dim == 16
    assert torch.isfinite(model.calculate_loss(next(iter(train))))


def test_an_interrupted_run_continues_as_if_it_had_not_been(settings, files, capsys):
    chosen = settings | SMALL | {"features": files, "kd_epochs": 4, "epochs": 4, "learning_rate": 1e-2}
    whole = run("ODMTSASRec", "tiny", config_dict=chosen)
    first = run("ODMTSASRec", "tiny", config_dict=chosen | {"epochs": 2})
    again = run(resume=first["folder"], config_dict={"epochs": 4})
    assert again["test_result"] == whole["test_result"]
    states = [torch.load(Path(each["folder"]) / LAST, weights_only=True) for each in (whole, again)]
    assert [state["model_numbers"]["epoch"] for state in states] == [4, 4]
    for name, value in states[0]["state_dict"].items():
        torch.testing.assert_close(states[1]["state_dict"][name], value, rtol=0, atol=0)
    assert load(whole["folder"]).evaluate() == whole["test_result"]


def test_content_is_learnt_and_shuffled_content_is_not(write_inter, settings, tmp_path):
    """200 items in 20 groups, each seen once or twice: users stay in a group, which only the tokens tell."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(20), 10)
    rows = []
    for user in range(80):
        own = rng.permutation(np.flatnonzero(group == user % 20))[:6]
        rows += [(user + 1, item + 1, time) for time, item in enumerate(own)]
    data = write_inter("groups", rows)
    items = sorted({str(item) for _, item, _ in rows}, key=int)
    shown = group[np.array(items, dtype=int) - 1]
    looks = rng.standard_normal((20, 12))

    def hits(groups, name):
        tokens = looks[groups][:, None] + 0.3 * rng.standard_normal((len(items), 3, 12))
        paths = {each: str(tmp_path / f"{name}-{each}.npy") for each in ("text", "image")}
        for path in paths.values():
            with written_tokens(Path(path), items, (3, 12), {}) as append:
                append(np.ones((len(items), 3), dtype=bool), tokens)
        chosen = settings | SMALL | {"data_path": str(data), "features": paths, "epochs": 15}
        more = {"hidden_size": 16, "learning_rate": 1e-2, "train_batch_size": 40, "eval_step": 5}
        return run("ODMTSASRec", "groups", config_dict=chosen | more)["test_result"]["hit@10"]

    planted, shuffled = hits(shown, "planted"), hits(rng.permutation(shown), "shuffled")
    assert planted > 0.8
    assert shuffled < 0.5 * planted


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"features": {"text": "a.npy", "image": "b.npy", "video": "c.npy"}}, "has an entry for video"),
        ({"item_modality": ["text", "image"]}, "is made of id and one or both of text and image"),
        ({"item_modality": ["id", "video"], "features": "v.npy"}, "not of id, video"),
        (
            {"item_modality": ["id", "text"], "features": "t.npy", "id_init": "image"},
            "id_init: image is none of what",
        ),
        ({"merge_heads": 3}, "merge_heads: 3 heads cannot share a width of 8"),
    ],
)
def test_wrong_settings_are_one_sentence(settings, files, more, message):
    with pytest.raises(MicroLensError, match=message):
        Config("ODMTSASRec", "tiny", config_dict=settings | SMALL | {"features": files} | more)


def test_the_names_are_known(capsys):
    assert [model_class(name).__name__ for name in NAMES] == list(NAMES)
    assert model_class("ODMTSASRec") is model_class("ODMTSASRec")
    with pytest.raises(MicroLensError, match="Did you mean 'ODMTSASRec'"):
        model_class("ODMTSASRek")
    assert cli.main(["models"]) == 0
    assert "ODMTNextItNet" in capsys.readouterr().out


@pytest.mark.parametrize("width", ["hidden_size", "embedding_size"])
@pytest.mark.parametrize("name", NAMES)
def test_the_paper_settings_of_each(name, width, settings):
    config = Config(name, "tiny", config_dict=settings | {"features": {"text": "a", "image": "b"}})
    assert config[width] in (768, None) and config["MAX_ITEM_LIST_LENGTH"] == 12
    assert (config["learning_rate"], config["weight_decay"], config["train_batch_size"]) == (1e-4, 0.1, 256)
    assert (config["kd_temperature"], config["kd_epochs"], config["precision"]) == (0.5, 50, "fp16")
