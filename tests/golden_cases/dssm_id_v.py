"""DSSM_ID+V, as published and without the bias that no loss trains."""

from tempfile import TemporaryDirectory

import numpy as np

from golden_cases._pairs import (
    outcome_of_pairs,
    scores_of,
    stand_in_config,
    stand_in_dataset,
    with_weights,
)
from recbole_microlens.models.dssm import DSSMIDV


def outcome(case):
    found = outcome_of_pairs(_model(case, as_published=True), case)
    found["scores_as_published"] = found.pop("scores")
    return found | {"scores_without_bias": scores_of(_model(case, as_published=False))}


def _model(case, as_published: bool) -> DSSMIDV:
    n_users, width = case["weight.user_id_embedding.weight"].shape
    n_items = len(case["features"])
    dataset = stand_in_dataset(n_users, n_items, case["users"], case["items"])
    weights = case if as_published else {k: v for k, v in case.items() if "bias_projection" not in k}
    with TemporaryDirectory() as folder:
        path = f"{folder}/features.npy"
        np.save(path, case["features"][1:])
        config = stand_in_config(
            embedding_size=2 * width,
            as_published=as_published,
            projection_learning_rate=1e-4,
            features={"video": path},
            item_modality=["id", "video"],
            missing_media="error",
            model="DSSMIDV",
        )
        model = with_weights(DSSMIDV(config, dataset), weights)
    model.features[0] = model.features.new_tensor(case["features"][0])  # The file's padding has features.
    return model
