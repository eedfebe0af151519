"""From what the last stage of a network returns to one feature vector an item."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_microlens.encoders.staged_forward import Features


def mean_of_maps(features: Features) -> Tensor:
    """Mean over time and space of every pathway [N, C, ...], side by side: [N, feature_dim]."""
    pathways = features if isinstance(features, list) else [features]
    return torch.cat([_mean_of_map(maps) if maps.dim() > 2 else maps for maps in pathways], dim=1)


def _mean_of_map(maps: Tensor) -> Tensor:
    # In the order of channels-last maps, so that the gradient has it, too.
    return mean_of_channels_last(maps.movedim(1, -1))


def mean_of_channels_last(features: Tensor) -> Tensor:
    """Mean over time and space of maps [N, ..., C]: [N, C]."""
    return features.flatten(1, -2).mean(1)


def has_channels_last(pool: Callable) -> bool:
    """Whether a pooling, or one for each frame that is made of it, takes maps with the channels last."""
    made_of = (pool, *getattr(pool, "args", ()))
    return mean_of_channels_last in made_of or any(getattr(each, "channels_last", False) for each in made_of)


def class_token(features: Tensor) -> Tensor:
    """The first of the tokens [N, tokens, C]: [N, C]."""
    return features[:, 0]


def mean_of_patches(features: Tensor) -> Tensor:
    """Mean of all tokens [N, tokens, C] but the first: [N, C]."""
    return features[:, 1:].mean(1)


def tokens_of(features: Features, channels_last: bool) -> tuple[Tensor, Tensor]:
    """What a last stage returns for images or text -> tokens [N, T, C], and which are real [N, T].

    Parameters
    ----------
    features : Tensor or list of them
        Tokens [N, T, C], for text in a list with their mask; maps [N, C, H, W], whose places are tokens.
    channels_last : bool
        Maps are [N, H, W, C].
    """
    if isinstance(features, list):
        tokens, mask = features
        return tokens, mask != 0
    if features.dim() == 4:
        features = features.flatten(1, 2) if channels_last else features.flatten(2).transpose(1, 2)
    return features, torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)


@dataclass(frozen=True)
class TokenPool:
    """Tokens -> features [N, d].

    Attributes
    ----------
    pooling : {'cls', 'mean', 'last'}
        The first token; the mean of all tokens that are neither padding nor class tokens; or the last token
        that is no padding, which is the one that has seen the whole text where a token sees those before it.
    n_class : int
        How many class tokens (also registers, distillation tokens) stand before the patches; for text 1
        where the first token is made for ``cls``, else 0.
    """

    pooling: str
    n_class: int = 0

    def __call__(self, features: Features) -> Tensor:
        """Tokens [N, L, d], for text in a list with their mask [N, L]; or maps [N, d, H, W], averaged; or
        features [N, d], as they are.
        """
        if isinstance(features, list):
            return _POOLS_OF_TEXT[self.pooling](*features)
        if features.dim() != 3:
            return features.flatten(2).mean(2) if features.dim() == 4 else features
        return features[:, 0] if self.pooling == "cls" else features[:, self.n_class :].mean(1)


def token_pools(default: str, n_class: int) -> dict[str, TokenPool]:
    """The poolings of a transformer, its own first.

    Parameters
    ----------
    default : {'cls', 'mean'}
        Its own.
    n_class : int
        See :class:`TokenPool`; where it is 0, there is no ``cls``.
    """
    known = {"cls": TokenPool("cls", n_class)} if n_class else {}
    known["mean"] = TokenPool("mean", n_class)
    return {default: known[default], **known}


def text_token_pools(default: str, n_class: int) -> dict[str, TokenPool]:
    """The poolings of a transformer of text, its own first.

    Parameters
    ----------
    default : {'cls', 'mean', 'last'}
        Its own.
    n_class : int
        See :class:`TokenPool`; where it is 0, there is no ``cls``.
    """
    pools = token_pools("mean", n_class) | {"last": TokenPool("last", n_class)}
    return {default: pools[default], **pools}


def _first(tokens: Tensor, mask: Tensor) -> Tensor:
    return tokens[:, 0]


def _last(tokens: Tensor, mask: Tensor) -> Tensor:
    """The last token [N, d] whose mask is not 0; the first where all are."""
    places = torch.arange(mask.shape[1], device=mask.device)
    last = ((mask != 0) * places).argmax(1)  # [N]
    return tokens[torch.arange(len(tokens), device=mask.device), last]


def _masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    weights = (mask != 0).to(tokens.dtype).unsqueeze(-1)  # [N, L, 1]
    return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1)


_POOLS_OF_TEXT = {"cls": _first, "mean": _masked_mean, "last": _last}
