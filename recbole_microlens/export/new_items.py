"""Items that no training has seen: from a video, cover, title, sound or features to an item's embedding."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from recbole_microlens.encoders.adapters.lora import without_lora
from recbole_microlens.errors import MicroLensError, explained
from recbole_microlens.export.catalogue import Catalogue
from recbole_microlens.export.given_items import NewItem
from recbole_microlens.export.new_content import KIND_OF, WithoutWeights, meta_of, row_of, soundless
from recbole_microlens.export.scoring import ScoreKind
from recbole_microlens.items.content import ContentItemEmbedding
from recbole_microlens.items.fusion import create_fusion
from recbole_microlens.items.media_batch import ItemMedia
from recbole_microlens.items.modality import ENCODED, features_path, modalities, modality_settings
from recbole_microlens.items.title_template import TITLE, TitleTemplate
from recbole_microlens.items.towers import EncoderTower, create_towers
from recbole_microlens.media.part import encode_item
from recbole_microlens.media.workers import Failure, available_cores, run_in_processes
from recbole_microlens.training import checkpoint
from recbole_microlens.training.resumable_trainer import BEST

_FIELD_OF = {"video": "video", "image": "cover", "text": "title", "audio": "audio"}


def reason_against(config, kind: ScoreKind, cold: str | None) -> str | None:
    """Why a model cannot rank an item that training has not seen; ``None`` if it can.

    Parameters
    ----------
    kind : ScoreKind
        How the model scores.
    cold : {None, 'content'}
        As :meth:`~recbole_microlens.export.recommender.Recommender.add_items` takes it.
    """
    model = config["model"]
    if cold not in (None, "content"):
        return f"cold: {cold!r} is not known. Give content, or leave it out."
    if not config.is_content_model or set(modalities(config)) == {"id"}:
        return (
            f"{model} knows items by id alone, and a new item has an id that no training has seen. Train a "
            "model that looks at content, such as SASRecV."
        )
    if getattr(config.model_class, "reads_tokens", False):
        return f"{model} makes an item of its id and its tokens together: it cannot rank a new one."
    if kind.items_by_id:
        return f"{model} scores items by a table of ids ({kind.formula}), in which a new one has no row."
    has_id = "id" in modalities(config) or kind.bias_by_id
    if has_id and cold is None:
        what = "an embedding by id" if "id" in modalities(config) else f"a bias by id ({kind.formula})"
        return (
            f"{model} also has {what}, which a new item has not. To rank new items by their content alone, "
            "with zeros for what the id would add, set --cold=content."
        )
    return None


class ItemEncoder:
    """Turns the content of new items into embeddings as the trained model does with that of its own.

    Parameters
    ----------
    config : Config
        Of the run.
    folder : Path
        Of the run: the weights of its encoders are read when the first item comes.
    catalogue : Catalogue
        Says how the content of the run's items was read.

    Attributes
    ----------
    modalities : tuple of str
        What the model looks at besides ids.
    fields : dict[str, str]
        By modality, which field of a :class:`NewItem` it is read from.
    template : TitleTemplate
        How the text of an item is made of its title and further fields.
    """

    def __init__(self, config, folder: Path, catalogue: Catalogue):
        self.config = config
        self.modalities = tuple(name for name in modalities(config) if name in ENCODED)
        self.fields = {name: self._field_of(name) for name in self.modalities}
        self.template = TitleTemplate.of(config["title_template"])
        self._folder = folder
        self._media = catalogue.media
        self._dim = 0 if catalogue.table is None else catalogue.table.size(1)

    def encode(self, items: Sequence[NewItem], progress: bool = False) -> Tensor:
        """The embeddings of new items, [m, d], on the run's device.

        Raises
        ------
        MicroLensError
            An item lacks what the model looks at, or a file cannot be decoded: with the reason.
        """
        for item in items:
            self.require_content(item)
        content = {name: self.content(name, items, progress) for name in self.modalities}
        media = ItemMedia(torch.zeros(len(items), dtype=torch.int64), content)
        embeddings = [self._encode(part) for part in media.chunks(self.config["encode_batch_size"])]
        found = torch.cat(embeddings)
        odd = (~torch.isfinite(found).all(dim=1)).nonzero()[:, 0].tolist()
        if odd:
            raise MicroLensError(
                f"{items[odd[0]].item_id}: its embedding is NaN or infinite. Is its content in order?"
            )
        return found

    def require_content(self, item: NewItem) -> None:
        """Raise a :class:`MicroLensError` if an item lacks something that the model looks at."""
        for name, field in self.fields.items():
            if field == "features":
                dim, vector = self._media[name]["dim"], (item.features or {}).get(name)
                if vector is None or np.shape(vector) != (dim,) or not np.isfinite(vector).all():
                    raise MicroLensError(
                        f"{item.item_id}: {self.config['model']} of this run reads features of {name}, and "
                        f"wants a vector of {dim} finite numbers. Extract it as those of the other items."
                    )
            elif field == TITLE and TITLE not in self.template.fields:
                if not any(item.text_values().get(name) for name in self.template.fields):
                    raise MicroLensError(
                        f"{item.item_id}: {self.config['model']} of this run makes an item's text of "
                        f"{', '.join(self.template.fields)}; none of them is given."
                    )
            elif not item.given(field):
                raise MicroLensError(
                    f"{item.item_id}: {self.config['model']} looks at the {field} of an item; none is given."
                )

    def _field_of(self, modality: str) -> str:
        if features_path(self.config, modality) is not None:
            return "features"
        is_middle_frame = modality == "image" and self.config["image_source"] == "video"
        return "video" if is_middle_frame else _FIELD_OF[modality]

    def content(self, modality: str, items: Sequence[NewItem], progress: bool = False) -> Tensor:
        """What the tower of a modality is given of new items: a row for each, as the run's reader gives it.

        Raises
        ------
        MicroLensError
            A file cannot be decoded.
        """
        if self.fields[modality] == "features":
            vectors = [np.asarray((item.features or {})[modality], dtype=np.float32) for item in items]
            return torch.from_numpy(np.stack(vectors))
        if modality == "text":
            from recbole_microlens.encoders.transformers.tokenizer import tokenize  # not every model reads

            spec = modality_settings(self.config, "text").encoder
            texts = [self.template.filled(item.text_values()) for item in items]
            return torch.from_numpy(tokenize(spec, texts, self.config["max_title_tokens"]))
        return torch.from_numpy(np.stack(self._rows(modality, items, progress)))

    def _rows(self, modality: str, items: Sequence[NewItem], progress: bool) -> list[np.ndarray]:
        """What is read of files, as a store of the run's kind would hold it and its reader give it."""
        field, stored = self.fields[modality], self._media[modality]
        read = functools.partial(encode_item, KIND_OF[field], meta_of(modality, stored))
        tasks = [(item.item_id, (str(item.given(field)),)) for item in items]
        with tqdm(total=len(tasks), desc="decode", unit="item", disable=None if progress else True) as bar:
            values = {}
            for task, value in run_in_processes(read, tasks, min(available_cores(), len(tasks))):
                values[task] = value
                bar.update()
        return [self._row(modality, *task, values[task]) for task in tasks]

    def _row(self, modality: str, item_id: str, files: tuple[str], value: bytes | Failure) -> np.ndarray:
        if not isinstance(value, Failure):
            return row_of(self.config, modality, self._media[modality], value)
        silence = self.silence(modality, value.reason)
        if silence is None:
            raise MicroLensError(f"{item_id}: {files[0]}: {value.reason}. Give another file.")
        return silence

    def silence(self, modality: str, reason: str) -> np.ndarray | None:
        """What stands for the sound of an item that has none, if the model looks at something else too."""
        if modality != "audio" or len(self.modalities) == 1:
            return None
        return soundless(self.config, self._media[modality], reason)

    @torch.no_grad()
    def _encode(self, media: ItemMedia) -> Tensor:
        return self.network.encode_without_id(media.to(self.config["device"])).float()

    @functools.cached_property
    def network(self) -> nn.Module:
        """The towers and the fusion with their trained weights; what is by id is left out."""
        prefix, path = "item_embedding.", self._folder / BEST
        saved = checkpoint.weights(path)
        state = {
            name.removeprefix(prefix): value
            for name, value in saved.items()
            if name.startswith((f"{prefix}towers.", f"{prefix}fusion."))
            and not name.startswith(f"{prefix}towers.id.")
        }
        towers = create_towers(
            WithoutWeights(self.config),
            nn.Embedding(1, self._dim, device="meta"),
            feature_dims={name: about["dim"] for name, about in self._media.items() if "dim" in about},
        )
        fusion = create_fusion(self.config["fusion"], len(towers), self._dim)
        network = ContentItemEmbedding(towers, 1, self._dim, fusion)
        with explained(f"{path} does not fit its run's settings", "Give the folder of another run."):
            missing, unexpected = network.load_state_dict(state, strict=False)
            missing = [name for name in missing if not name.startswith("towers.id.")]
            if missing or unexpected:
                raise ValueError(f"missing {missing[:3]}, unexpected {unexpected[:3]}")
        for tower in towers.values():
            if isinstance(tower, EncoderTower):
                tower.encoder = without_lora(tower.encoder)
        if "id" in towers:
            towers["id"] = nn.Identity()  # only its place among the others is needed
        return network.to(self.config["device"]).eval()
