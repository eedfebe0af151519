"""Fine-tuning modes: how many of an encoder's top stages train.

Source: section 4.2 of the MicroLens paper (frozen, top-T and full fine-tuning).
"""

from recbole_microlens.errors import MicroLensError, did_you_mean

MODES = ("frozen", "top", "full")


def trainable_stages(mode: str, finetune_stages: int, n_stages: int) -> int:
    """Number of top stages that train under a mode: none, the last ``finetune_stages``, or all.

    Raises
    ------
    MicroLensError
        Unknown mode; or, in mode ``top``, a number of stages that the encoder does not have.
    """
    if mode not in MODES:
        raise MicroLensError(
            f"finetune: '{mode}' is no mode.{did_you_mean(str(mode), MODES)} Set one of: {', '.join(MODES)}."
        )
    if mode != "top":
        return 0 if mode == "frozen" else n_stages
    if not isinstance(finetune_stages, int) or not 1 <= finetune_stages <= n_stages:
        raise MicroLensError(
            f"finetune_stages: {finetune_stages} does not fit; this encoder has {n_stages} stages, set 1 to "
            f"{n_stages}."
        )
    return finetune_stages
