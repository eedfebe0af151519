"""An upload's embedding: decoded in another process, encoded as the trained model does."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from torch import Tensor

from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.given_items import NewItem
from recbole_microlens.export.new_content import KIND_OF, meta_of, row_of
from recbole_microlens.export.new_items import ItemEncoder
from recbole_microlens.export.recommender import Recommender
from recbole_microlens.export.service.decoders import Decoders
from recbole_microlens.export.service.metrics import Metrics
from recbole_microlens.media.sound_values import encode_sound
from recbole_microlens.media.store import decode_value, encode_value
from recbole_microlens.media.store_meta import StoreMeta
from recbole_microlens.media.timeline import MediaError

_PICTURE, _QUALITY = 160, 72


class UploadEncoder(ItemEncoder):
    """As :class:`ItemEncoder`, one item at a time, by decoders that are kept ready.

    Parameters
    ----------
    model : Recommender
    decoders : Decoders
    metrics : Metrics
        Learn how long it takes.
    """

    def __init__(self, model: Recommender, decoders: Decoders, metrics: Metrics):
        super().__init__(model.config, model.folder, model.catalogue)
        self._decoders, self._metrics = decoders, metrics
        self._stored = model.catalogue.media
        self._lock = threading.Lock()  # one network, and at hand the values of one item
        self._values: dict[str, bytes] = {}

    def reason_against_files(self) -> str | None:
        """Why a model that ranks new items cannot be given one as files; ``None`` if it can."""
        if "features" not in self.fields.values():
            return None
        return (
            f"{self.config['model']} of this run reads features from a file, and an upload has none. Add "
            "items in Python: add_items({'ID': VECTOR})."
        )

    def encoded(self, item: NewItem) -> tuple[np.ndarray, bytes]:
        """The embedding [d] of an item, and a small JPEG of it, empty where it has no picture.

        Raises
        ------
        MicroLensError
            The item lacks what the model looks at, or a file cannot be decoded; with the reason.
        """
        self.require_content(item)
        with self._metrics.stage("decode"):
            values = {name: self._decoded(name, item) for name in self._of_files()}
        with self._metrics.stage("encode"):
            return self._embedding(item, values), self._picture(values)

    def warm_up(self) -> None:
        """Load the encoders, and let the libraries choose their ways on a black picture and on silence."""
        values = {name: _nothing(meta_of(name, self._stored[name])) for name in self._of_files()}
        texts = dict.fromkeys(self.template.fields, "black")
        item = NewItem("warm-up", Path("-"), Path("-"), "black", audio=Path("-"), texts=texts)
        self._embedding(item, values)

    def _of_files(self) -> list[str]:
        return [name for name, field in self.fields.items() if field in KIND_OF]

    def _decoded(self, modality: str, item: NewItem) -> bytes:
        field, meta = self.fields[modality], meta_of(modality, self._stored[modality])
        try:
            return self._decoders.decode(KIND_OF[field], meta, item.given(field))
        except MediaError as error:
            if self.silence(modality, str(error)) is not None:
                return _nothing(meta)
            raise MicroLensError(f"{field}: {error}. Give another file.") from error

    def _embedding(self, item: NewItem, values: dict[str, bytes]) -> np.ndarray:
        with self._lock:
            self._values = values
            return self.encode([item])[0].cpu().numpy()

    def content(self, modality: str, items: Sequence[NewItem], progress: bool = False) -> Tensor:
        """As the base class gives it, from the values that are at hand."""
        if modality not in self._values:
            return super().content(modality, items, progress)
        row = row_of(self.config, modality, self._stored[modality], self._values[modality])
        return torch.from_numpy(row).unsqueeze(0)

    def _picture(self, values: dict[str, bytes]) -> bytes:
        for name in ("image", "video"):
            if name in values:
                middle = self._stored[name]["num_frames"] // 2
                size = min(self._stored[name]["size"], _PICTURE)
                (frame,) = decode_value(values[name], size, slice(middle, middle + 1))
                return simplejpeg.encode_jpeg(frame, _QUALITY, "RGB", colorsubsampling="420")
        return b""


def _nothing(meta: StoreMeta) -> bytes:
    """The value of black frames, or of silence."""
    if meta.modality == "audio":
        return encode_sound([np.zeros(meta.window_samples, np.int16)] * meta.windows, meta)
    return encode_value(np.zeros((meta.num_frames, meta.size, meta.size, 3), np.uint8), meta.quality)
