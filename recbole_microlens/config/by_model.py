"""What single models of RecBole need of their settings, and say only when they are built or trained."""

from __future__ import annotations

import os

from recbole_microlens.config.kinds import shown
from recbole_microlens.config.property_files import hyperparameters
from recbole_microlens.errors import MicroLensError

# Models whose code needs a number of items of the short term that a sequence can hold, and its setting.
_SHORT_TERMS = {"FOSSIL": "order_len", "HRM": "high_order", "SHAN": "short_item_length"}
_TRANSFORMS = {"BERT4Rec": "mask_itemseq", "SHAN": "inverse_itemseq"}
_TRANSFORM_NEEDS = {"crop_itemseq": "eta", "reorder_itemseq": "beta", "mask_itemseq": "mask_ratio"}
# A stage of a training that goes on from a checkpoint, and the setting that names the checkpoint.
_STAGES = {
    "S3Rec": ("train_stage", ("finetune",), ("pre_model_path",)),
    "RaCT": ("train_stage", ("critic_pretrain", "finetune"), ("pre_model_path",)),
    "ConvNCF": ("train_method", ("after_pretrain",), ("pre_model_path",)),
    "KD_DAGFM": ("phase", ("distillation", "finetuning"), ("warm_up",)),
    "NeuMF": ("use_pretrain", (True,), ("mf_pretrain_path", "mlp_pretrain_path")),
}


def check_model(settings: dict, backbone: str) -> None:
    """Raise a :class:`MicroLensError` where settings do not fit the model that reads them."""
    _check_heads(settings, backbone)
    key = _SHORT_TERMS.get(backbone)
    if key and settings[key] > settings["MAX_ITEM_LIST_LENGTH"]:
        raise MicroLensError(
            f"{key}: {settings[key]} items are more than a sequence has (`MAX_ITEM_LIST_LENGTH`: "
            f"{settings['MAX_ITEM_LIST_LENGTH']}). Lower it."
        )
    transform = settings.get("transform")
    if backbone in _TRANSFORMS and transform != _TRANSFORMS[backbone]:
        raise MicroLensError(
            f"transform: {transform} is given, but {backbone} reads {_TRANSFORMS[backbone]}. Leave it out."
        )
    needed = _TRANSFORM_NEEDS.get(str(transform))
    if needed and settings.get(needed) is None:
        raise MicroLensError(f"transform: {transform} needs `{needed}`, a number from 0 to 1. Set both.")
    if transform == "mask_itemseq" and settings["mask_ratio"] * settings["MAX_ITEM_LIST_LENGTH"] < 1:
        raise MicroLensError(
            f"mask_ratio: {settings['mask_ratio']} of `MAX_ITEM_LIST_LENGTH`, "
            f"{settings['MAX_ITEM_LIST_LENGTH']}, is less than one item. Raise one of them."
        )
    if transform == "reorder_itemseq" and not 0 <= settings["beta"] <= 1:
        raise MicroLensError(
            f"beta: {settings['beta']} is not a share of a sequence. Set a number from 0 to 1."
        )
    if backbone in _STAGES:
        _require_checkpoint(settings, *_STAGES[backbone])
    if backbone in _OF_MODELS:
        _OF_MODELS[backbone](settings)


def _check_heads(settings: dict, backbone: str) -> None:
    read = hyperparameters(backbone)
    hidden = "hidden_size" if "hidden_size" in read else "embedding_size"
    for heads, width in (("n_heads", hidden), ("num_heads", "attention_size")):
        if heads in read and width in read and settings[width] % settings[heads]:
            raise MicroLensError(
                f"{heads}: {settings[heads]} heads cannot share a `{width}` of {settings[width]} evenly. "
                "Change one so that it can be divided by the other."
            )


def _require_checkpoint(settings: dict, key: str, stages: tuple, paths: tuple[str, ...]) -> None:
    if settings[key] not in stages:
        return
    for path in paths:
        if not os.path.isfile(settings.get(path) or ""):
            raise MicroLensError(
                f"{path}: {shown(settings.get(path))} is not a file, and `{key}: {settings[key]}` goes on "
                "from the checkpoint there. Give its path."
            )


def _check_facets(settings: dict) -> None:
    candidates = len(str(settings["reranker_CAN_NUM"]).split(","))
    parts = ("n_facet", "n_facet_context", "n_facet_emb")
    total = sum(settings[key] for key in parts) + settings["n_facet_reranker"] * candidates
    if total != settings["n_facet_all"]:
        raise MicroLensError(
            f"n_facet_all: {settings['n_facet_all']} is not the sum of n_facet, n_facet_context, n_facet_emb "
            f"and n_facet_reranker for each of reranker_CAN_NUM, which is {total}. Set it to that."
        )


def _check_contrast(settings: dict) -> None:
    if settings.get("contrast") not in (None, "None"):
        missing = [key for key in ("tau", "sim") if settings.get(key) is None]
        if missing:
            raise MicroLensError(f"contrast: it needs `{missing[0]}` too. Set both, or leave it out.")


def _check_neighbours(settings: dict) -> None:
    left = settings["neigh_num"] - settings["conv_kernel_size"] + 1
    if left < settings["pool_kernel_size"]:
        raise MicroLensError(
            f"neigh_num: {settings['neigh_num']} neighbours are too few for `conv_kernel_size` "
            f"{settings['conv_kernel_size']} and `pool_kernel_size` {settings['pool_kernel_size']}. Raise it."
        )


def _check_latent(settings: dict) -> None:
    if settings["latent_dimension"] % 2:
        raise MicroLensError(
            f"latent_dimension: {settings['latent_dimension']} is odd; half of it is means, half deviations. "
            "Set an even number."
        )


def _check_interactions(settings: dict) -> None:
    sizes = settings["cin_layer_size"]
    if not settings["direct"] and any(size % 2 for size in sizes):
        raise MicroLensError(
            f"cin_layer_size: {sizes} has an odd size, which needs `direct: true`. Make it even."
        )


def _divides(part: str, whole: str):
    def check(settings: dict) -> None:
        if settings[whole] % settings[part]:
            raise MicroLensError(
                f"{part}: {settings[part]} does not divide `{whole}`, {settings[whole]}. Change one."
            )

    return check


def _check_towers(settings: dict) -> None:
    users, items = settings["user_hidden_size_list"], settings["item_hidden_size_list"]
    if users[-1] != items[-1]:
        raise MicroLensError(
            f"user_hidden_size_list: {users} and item_hidden_size_list: {items} must end in one width."
        )


def _check_diffusion(settings: dict) -> None:
    if settings["sampling_steps"] > settings["steps"]:
        raise MicroLensError(
            f"sampling_steps: {settings['sampling_steps']} are more than `steps`, {settings['steps']}. Lower "
            "it."
        )


def _check_convolutions(settings: dict) -> None:
    channels, kernels, strides = (settings[f"cnn_{part}"] for part in ("channels", "kernels", "strides"))
    if not len(channels) - 1 == len(kernels) == len(strides):
        raise MicroLensError(
            f"cnn_channels: {len(channels)} do not fit {len(kernels)} `cnn_kernels` and {len(strides)} "
            "`cnn_strides`: of these, give one less than channels."
        )
    size = settings["embedding_size"]
    for kernel, stride in zip(kernels, strides, strict=True):
        if size < kernel:
            raise MicroLensError(
                f"embedding_size: {settings['embedding_size']} is too small for `cnn_kernels` {kernels} and "
                f"`cnn_strides` {strides}. Raise it."
            )
        size = (size - kernel) // stride + 1


_OF_MODELS = {
    "SASRecCPR": _check_facets,
    "GRU4RecCPR": _check_facets,
    "FEARec": _check_contrast,
    "DGCF": _divides("n_factors", "embedding_size"),
    "DMF": _check_towers,
    "DiffRec": _check_diffusion,
    "LDiffRec": _check_diffusion,
    "ConvNCF": _check_convolutions,
    "MultiVAE": _check_latent,
    "RaCT": _check_latent,
    "NNCF": _check_neighbours,
    "xDeepFM": _check_interactions,
}
