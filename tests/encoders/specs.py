"""What the tests of all encoders share: the network of a spec, built once, and content for it."""

from dataclasses import replace
from functools import partial

import torch
from audio_configs import AUDIO_SETTINGS

from recbole_microlens.encoders.encoder import Encoder, EncoderOptions
from recbole_microlens.encoders.registry import ENCODERS
from recbole_microlens.encoders.transformers.audio_families import front_end_of
from recbole_microlens.encoders.transformers.config import config_of
from recbole_microlens.encoders.transformers.spec import TransformersSpec, build_network

THIN = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}


def thin_spec(name):
    """A spec of the table whose network has 3 layers of 16 channels; all else is the table's."""
    spec = ENCODERS[name]
    settings = spec.config.keywords | THIN
    config = partial(config_of, *spec.config.args, **settings)
    top = (f"{spec.family.blocks}.2", *spec.stages[-1][1:])
    return replace(
        spec,
        config=config,
        build=partial(build_network, config),
        stages=(*spec.stages[:3], top),
        feature_dim=16,
    )


def thin_sound_spec(name):
    """The same of an entry of sound."""
    spec = ENCODERS[name]
    settings, given = AUDIO_SETTINGS[spec.config.args[0]][0]
    config = partial(config_of, *spec.config.args, **settings)
    front_end = front_end_of(spec.family, config(), given, name)
    features = 32 if spec.config.args[0] == "clap_audio_model" else 16
    top = (f"{spec.family.blocks}.2", *spec.stages[-1][1:])
    small = {"build": partial(build_network, config), "stages": (*spec.stages[:3], top)}
    return replace(spec, config=config, front_end=front_end, feature_dim=features, **small)


def small_spec(name):
    """The spec of an encoder; one of transformers with a thin network."""
    if not isinstance(ENCODERS[name], TransformersSpec):
        return ENCODERS[name]
    return thin_sound_spec(name) if ENCODERS[name].modality == "audio" else thin_spec(name)


class Built:
    """A spec with its network on the smallest clip, its head included.

    Attributes
    ----------
    content : two items.
    """

    def __init__(self, spec):
        self.spec = spec
        self.frames, self.size = max(2, spec.least_frames), max(32, spec.least_size)
        torch.manual_seed(0)
        self.network = spec.build(self.frames, self.size)
        self.content = content_of(spec, self.frames, self.size)

    def encoder(self, trainable_stages=None, **options) -> Encoder:
        """An encoder around the shared network, without gradients of an earlier test."""
        self.network.requires_grad_(True).zero_grad()
        options = EncoderOptions(self.frames, self.size, trainable_stages=trainable_stages, **options)
        return Encoder(self.spec, self.network, options)


def content_of(spec, frames, size, items=2):
    """Content of some items for an encoder: pixels, or token ids and attention mask of which the last item
    has fewer.
    """
    generator = torch.Generator().manual_seed(0)
    if spec.modality == "text":
        ids = torch.randint(5, 100, (items, 12), generator=generator)
        mask = torch.ones_like(ids)
        mask[-1, 7:] = 0
        return torch.stack([ids * mask, mask], dim=1).int()
    if spec.modality == "audio":
        return sound_of(spec, items)
    shape = (items, frames, size, size, 3) if spec.modality == "video" else (items, size, size, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def sound_of(spec, items=2, windows=2, seconds=0.7):
    """Noise for an encoder of sound, int16 [items, windows, L]; the last window of all is half as long."""
    samples = int(seconds * spec.sample_rate)
    generator = torch.Generator().manual_seed(0)
    content = torch.randint(-8000, 8000, (items, windows, samples), generator=generator, dtype=torch.int16)
    content[-1, -1, samples // 2 :] = 0
    return content
