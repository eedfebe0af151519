"""Runs with a folder of a family: an epoch with the activation cache is the epoch without."""

import pytest
import torch
from test_transformers_folder import MODELS, config_of

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.training.preparation import prepare_data
from recbole_microlens.training.trainer import create_trainer

# One of them in the quick group: its blocks are of two kinds.
QUICK = "videoprism_vision_model"
FAMILIES = (
    "internvl_vision", "siglip2_vision_model", "dinov3_convnext", "vjepa2", "pe_video_encoder",
    "qwen2_vl_vision", "qwen2_5_vl_vision", "qwen3_vl_vision",
)  # fmt: skip
TOP = {"finetune": "top", "finetune_stages": 1, "activation_cache_dtype": "fp32", "learner": "sgd"}


@pytest.mark.parametrize(
    "family", [QUICK, *(pytest.param(each, marks=pytest.mark.slow) for each in FAMILIES)]
)
def test_a_cached_epoch_is_the_uncached_one_and_the_top_has_trained(
    family, save_model, content_settings, tmp_path
):
    assert family in MODELS
    chosen = (
        content_settings | TOP | {"encoder": save_model(config_of(family)), "encoder_weights": "pretrained"}
    )
    found = {}
    for cache in ("off", str(tmp_path / "caches")):
        config = Config("SASRecV", "tiny", config_dict=chosen | {"activation_cache": cache})
        train, _, _ = prepare_data(config, create_dataset(config))
        torch.manual_seed(0)
        model = config.model_class(config, train._dataset)
        encoder = model.item_embedding.encoders()["video"]
        before = [part.clone() for part in encoder.parameters()]
        trainer = create_trainer(config, model, tmp_path / f"run{len(found)}", train)
        losses = [trainer._train_epoch(train, epoch) for epoch in range(2)]
        changed = {
            id(part) for part, old in zip(encoder.parameters(), before, strict=True) if not part.equal(old)
        }
        top = {id(part) for part in encoder.stages()[-1].parameters()}
        assert changed <= top
        assert len(changed) >= len(top) - 1  # the gradient of a bias of keys is zero
        found[cache] = losses, [part.detach().clone() for part in encoder.parameters()]
    (plain, weights), (cached, others) = found.values()
    assert cached == pytest.approx(plain, rel=1e-5)
    for one, other in zip(weights, others, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
