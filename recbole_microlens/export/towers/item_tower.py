"""The encoders of a run as one module: the content of items -> their vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_microlens.data.media import create_reader
from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.given_items import NewItem
from recbole_microlens.export.new_items import reason_against
from recbole_microlens.export.recommender import Recommender
from recbole_microlens.export.scoring import ScoreKind
from recbole_microlens.export.towers.onnx_export import BATCHES, Case, Tower
from recbole_microlens.items.content import ContentItemEmbedding
from recbole_microlens.items.media_batch import ItemMedia
from recbole_microlens.media.spread import SPREADS

ITEM_VECTOR, INDEX_VECTOR = "item_vector", "index_vector"
_CONTENT = {"middle": "frames from the middle of the video", "uniform": "frames of the whole video"}
_REAL = 10  # items: as many as there are in a batch of each size
_IDS_OF_ANY_TOKENIZER = 256


@dataclass(frozen=True)
class Part:
    """What one modality is given as.

    Attributes
    ----------
    modality, kind : str
        ``kind`` is ``features``, or else the modality.
    names : tuple of str
        Of the inputs.
    shape : tuple of int
        Of one item.
    """

    modality: str
    kind: str
    names: tuple[str, ...]
    shape: tuple[int, ...]

    def content(self, inputs: Sequence[Tensor]) -> Tensor:
        """The inputs [B, ...] as :class:`ItemMedia` holds them."""
        if self.kind == "text":
            return torch.stack(list(inputs), dim=1).to(torch.int32)  # [B, 2, tokens]
        return inputs[0]

    def inputs(self, content: Tensor) -> tuple[Tensor, ...]:
        """The inverse of :meth:`content`."""
        return tuple(content.long().unbind(1)) if self.kind == "text" else (content,)


def reason_against_item_tower(model: Recommender, cold: str | None) -> str | None:
    """Why there is no vector to compute from an item's content alone; ``None`` if there is."""
    if model.encoder.fields.get("audio") == "audio":
        return f"{model.config['model']} looks at sound, whose spectra are not part of what is exported."
    return reason_against(model.config, model.kind, cold)


def item_tower(model: Recommender, has_index_vector: bool, new: Sequence[NewItem] = ()) -> Tower:
    """The encoders, projections and fusion of a run that :func:`reason_against_item_tower` has nothing
    against, on the CPU.

    It is compared with what the run computes for random content and, where there is any, for that of items.

    Parameters
    ----------
    has_index_vector : bool
        Whether what is multiplied with a query is another vector than the embedding; it is then a second
        output.
    new : Sequence[NewItem]
        New items with their files, which are looked at instead of the dataset.
    """
    network = _network(model)
    parts = [_part(model, name) for name in model.encoder.modalities]
    module = ItemTower(network, parts, model.kind if has_index_vector else None).eval()
    names = tuple(name for part in parts for name in part.names)
    real, said = _real(model, new)
    contents = [*_batches(real), *_random(model, parts)]
    return Tower(
        module=module,
        inputs=names,
        outputs=(ITEM_VECTOR, INDEX_VECTOR) if has_index_vector else (ITEM_VECTOR,),
        cases=tuple(_case(network, module, parts, content) for content in contents),
        tried_on=(*said, "random content"),
        sequences=tuple(name for part in parts if part.kind == "text" for name in part.names),
    )


class ItemTower(nn.Module):
    """The towers of a run and their fusion; what is by id is zeros.

    Parameters
    ----------
    network : ContentItemEmbedding
    parts : list of Part
        In the order of the inputs.
    kind : ScoreKind, optional
        Says what is multiplied with a query, where that is asked for.
    """

    def __init__(self, network: ContentItemEmbedding, parts: list[Part], kind: ScoreKind | None):
        super().__init__()
        self.network: Any = network
        self.parts = parts
        self.kind = kind

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Content of B items -> their embeddings [B, d] and, where asked for, index vectors [B, d']."""
        left, content = list(inputs), {}
        for part in self.parts:
            taken, left = left[: len(part.names)], left[len(part.names) :]
            content[part.modality] = part.content(taken)
        n_items = inputs[0].size(0)
        media = ItemMedia(torch.zeros(n_items, dtype=torch.int64), dict(content))
        # As `encode_without_id`, whose len() a trace takes for a constant.
        zeros = torch.zeros(n_items, self.network.embedding_dim)
        found = [zeros if name == "id" else tower(media) for name, tower in self.network.towers.items()]
        embeddings = found[0] if self.network.fusion is None else self.network.fusion(found)
        return (embeddings,) if self.kind is None else (embeddings, index_vectors(self.kind, embeddings))


def index_vectors(kind: ScoreKind, embeddings: Tensor) -> Tensor:
    """What is multiplied with a query, of items without an id, [B, d] -> [B, d']; a bias by id is zero."""
    assert kind.vectors is not None
    return F.pad(embeddings, (0, 1)) if kind.has_bias else kind.vectors(nn.Module(), embeddings)


def preprocessing(model: Recommender) -> dict[str, dict[str, Any]]:
    """By modality, how content becomes the inputs of the tower, for whoever does so elsewhere."""
    return {name: _said_of(model, _part(model, name)) for name in model.encoder.modalities}


def _part(model: Recommender, modality: str) -> Part:
    config = model.config
    size = config["frame_size"]
    if model.encoder.fields[modality] == "features":
        dim = model.catalogue.media[modality]["dim"]
        return Part(modality, "features", (f"{modality}_features",), (dim,))
    if modality == "text":
        return Part(modality, "text", ("token_ids", "attention_mask"), (2, config["max_title_tokens"]))
    if modality == "image":
        return Part(modality, "image", ("cover",), (size, size, 3))
    return Part(modality, "video", ("frames",), (config["num_frames"], size, size, 3))


def _said_of(model: Recommender, part: Part) -> dict[str, Any]:
    config, stored = model.config, model.catalogue.media[part.modality]
    if part.kind == "features":
        return {
            "content": f"the features of the {part.modality} that the run was given",
            "dim": part.shape[0],
        }
    if part.kind == "text":
        return {
            "content": f"the {' and the '.join(model.encoder.template.fields)}, white space collapsed to "
            "single spaces",
            "template": config["title_template"] or "{title}",
            "tokenizer": _tokenizer(model),
            "longest": config["max_title_tokens"],
            "padding": "zeros on the right in both inputs; attention_mask is 1 where there is a token",
        }
    pixels = {
        "height": config["frame_size"],
        "width": config["frame_size"],
        "channels": "RGB, last",
        "values": "uint8, 0 to 255; the tower normalises",
        "resize": f"to a square of {stored['size']}, bicubic, the aspect ratio is not kept; then through a "
        f"JPEG of quality {stored['quality']} (4:2:0), and resized once more if that is another size",
    }
    if part.kind == "image" and model.encoder.fields["image"] == "cover":
        return {"content": "the cover"} | pixels
    spread = str(stored.get("spread", "middle"))
    chosen = {
        "content": _CONTENT[spread] if part.kind == "video" else "a frame of the video",
        "frames": config["num_frames"] if part.kind == "video" else 1,
        "chosen": SPREADS[spread].in_words.format(**stored),
        "num_frames": stored["num_frames"],
        "interval": stored["interval"],
    }
    return chosen | pixels


def _text_encoder(model: Recommender) -> Any:
    return _network(model).encoders()["text"]


def _tokenizer(model: Recommender) -> str:
    """Where the tokenizer comes from; of a folder of this machine, its name alone."""
    spec = _text_encoder(model).spec
    source = getattr(spec, "tokenizer", spec.name)
    return Path(source).name if Path(source).is_dir() else source


def _network(model: Recommender) -> ContentItemEmbedding:
    network = model.encoder.network
    assert isinstance(network, ContentItemEmbedding)
    return network


def _case(
    network: ContentItemEmbedding, module: ItemTower, parts: list[Part], content: dict[str, Tensor]
) -> Case:
    n_items = len(next(iter(content.values())))
    media = ItemMedia(torch.zeros(n_items, dtype=torch.int64), dict(content))
    with torch.no_grad():
        expected = [network.encode_without_id(media)]
        if module.kind is not None:
            expected.append(index_vectors(module.kind, expected[0]))
    inputs = tuple(value for part in parts for value in part.inputs(content[part.modality]))
    lengths = content["text"][:, 1].sum(1).long() if any(part.kind == "text" for part in parts) else None
    return Case(inputs, tuple(expected), lengths)


def _real(model: Recommender, new: Sequence[NewItem]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Content of some items by modality; none where neither new items nor the dataset are at hand."""
    encoder = model.encoder
    if new:
        chosen = list(new)[:_REAL]
        return {name: encoder.content(name, chosen, False) for name in encoder.modalities}, ("new items",)
    rows = torch.linspace(1, len(model.catalogue.item_ids) - 1, _REAL).long().unique()
    try:
        return {name: _of_items(model, name, rows) for name in encoder.modalities}, ("items of the run",)
    except (MicroLensError, OSError):  # a run may be far from its dataset
        return {}, ()


def _of_items(model: Recommender, modality: str, rows: Tensor) -> Tensor:
    """Content of items by internal id; titles are the run's own, all else the dataset's."""
    if model.encoder.fields[modality] == "title" and model.encoder.template.is_the_title:
        titled = [NewItem(model.item_ids[row], title=model.titles[row]) for row in rows.tolist()]
        return model.encoder.content(modality, titled, False)
    content = create_reader(model.config, modality, model.catalogue.item_ids).read(rows)
    assert isinstance(content, Tensor)
    return content


def _batches(content: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    start, n_items = 0, min((len(part) for part in content.values()), default=0)
    for size in BATCHES:
        if start + size > n_items:
            return
        yield {name: part[start : start + size] for name, part in content.items()}
        start += size


def _random(model: Recommender, parts: list[Part]) -> Iterator[dict[str, Tensor]]:
    drawn = torch.Generator().manual_seed(0)
    for size in BATCHES:
        yield {part.modality: _random_content(model, part, size, drawn) for part in parts}


def _random_content(model: Recommender, part: Part, size: int, drawn: torch.Generator) -> Tensor:
    shape = (size, *part.shape)
    if part.kind == "features":
        return torch.randn(shape, generator=drawn)
    if part.kind != "text":
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=drawn)
    longest = part.shape[1]
    n_ids = getattr(
        getattr(_text_encoder(model).network, "config", None), "vocab_size", _IDS_OF_ANY_TOKENIZER
    )
    lengths = torch.tensor([max(1, longest // 2), longest, *np.full(size, 1 + longest // 3)])[:size]
    mask = torch.arange(longest) < lengths.unsqueeze(1)
    ids = torch.randint(1, n_ids, (size, longest), generator=drawn) * mask
    return torch.stack([ids, mask.long()], dim=1).to(torch.int32)
