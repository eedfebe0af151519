"""How the tokens that a transformer returns become one feature vector."""

from dataclasses import dataclass

from torch import Tensor

from recbole_microlens.encoders.walk import Features


@dataclass(frozen=True)
class TokenPool:
    """Tokens -> features [N, d].

    Attributes
    ----------
    pooling : ``cls``, the first token; ``mean``, the mean of all tokens that are neither padding nor class
        tokens.
    n_class : how many class tokens (also registers, distillation tokens) stand before the patches; for text 1
        where the first token is made for ``cls``, else 0.
    """

    pooling: str
    n_class: int = 0

    def __call__(self, features: Features) -> Tensor:
        """``features``: tokens [N, L, d], with a mask [N, L] for text; or maps [N, d, H, W], averaged."""
        if isinstance(features, list):
            tokens, mask = features
            return tokens[:, 0] if self.pooling == "cls" else _masked_mean(tokens, mask)
        if features.dim() != 3:
            return features.flatten(2).mean(2) if features.dim() == 4 else features
        return features[:, 0] if self.pooling == "cls" else features[:, self.n_class :].mean(1)


def pools_of(default: str, n_class: int, tokens: bool = True) -> dict[str, TokenPool]:
    """The poolings of a network, its own first.

    Parameters
    ----------
    n_class : see :class:`TokenPool`; where it is 0, there is no ``cls``.
    tokens : false for maps.
    """
    known = {"cls": TokenPool("cls", n_class)} if n_class and tokens else {}
    known["mean"] = TokenPool("mean", n_class)
    return {default: known[default], **known}


def _masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    weights = (mask != 0).to(tokens.dtype).unsqueeze(-1)  # [N, L, 1]
    return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1)
