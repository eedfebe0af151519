"""How an encoder is built and used."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_microlens.encoders.adapter_options import AdapterOptions


@dataclass(frozen=True)
class EncoderOptions:
    """The options of an encoder.

    Attributes
    ----------
    frames, size : int
        Frames of a clip, and their height and width in pixels.
    weights : str
        ``pretrained`` (downloaded once by ``torch.hub``; ``kinetics`` is another word for it), a path of a
        checkpoint, or ``none`` (random).
    trainable_stages : int or str, optional
        How many top stages train, or the name of a module from which on all train; all by default. See
        :mod:`recbole_microlens.encoders.finetune`.
    output : {'pooled', 'head', 'released'}
        Pooled features, the logits of the classes the network was trained on, or what the released runs took
        of it: logits of pytorchvideo's networks, in their way, and pooled features of all others. See
        :mod:`recbole_microlens.encoders.released_head`.
    pooling : str, optional
        ``mean``, ``cls`` where the network has a class token, or ``last`` of text; a key of
        :data:`~recbole_microlens.encoders.timm_pooling.POOLINGS` of a network of timm; by default the
        encoder's own.
    freeze_bn_statistics : bool
        Keep the running statistics of BatchNorm layers that train, too.
    gradient_checkpointing : bool
        Compute the activations of trainable stages again in the backward pass instead of keeping them.
    normalisation : {'weights', 'released'}
        Of pixels: that of the weights, or mean 0.5 and deviation 0.5 as in the released code.
    finetune_embeddings : bool
        The lowest stage trains too, though those between it and the top ones do not.
    frame_pooling : str, optional
        How the features of frames become those of a clip, where an image encoder looks at each frame: a key
        of :data:`~recbole_microlens.encoders.frame_by_frame.FRAME_POOLS`, by default ``mean``.
    adapters : AdapterOptions, optional
        What trains in the place of the encoder's own weights; see
        :mod:`recbole_microlens.encoders.adapters`.
    shared_tokens : int
        How many tokens at the beginning are the same in all texts, which a template makes so: a decoder runs
        them once for all items of a batch. Where they differ after all, nothing is shared.
    """

    frames: int = 5
    size: int = 224
    weights: str | None = "none"
    trainable_stages: int | str | None = None
    output: str = "pooled"
    pooling: str | None = None
    freeze_bn_statistics: bool = False
    gradient_checkpointing: bool = False
    normalisation: str = "weights"
    finetune_embeddings: bool = False
    frame_pooling: str | None = None
    adapters: AdapterOptions | None = None
    shared_tokens: int = 0
