"""A layer with towers of tiny encoders, its reader and its activation caches."""

import numpy as np
import torch
from miniature import N_ITEMS, Pixels, tiny_encoder
from torch import nn

from recbole_microlens.activation_cache.cache import ActivationCaches
from recbole_microlens.activation_cache.plan import Work
from recbole_microlens.activation_cache.settings import CacheSettings
from recbole_microlens.data.media import ItemReader
from recbole_microlens.items.content import ContentItemEmbedding
from recbole_microlens.items.towers import EncoderTower

IDS = torch.tensor([7, 2, 11])
TOKENS = np.array(["[PAD]", *(f"v{item}" for item in range(1, N_ITEMS))])
OFTEN = Work(epochs=10, rankings=11, items_an_epoch=30)


class MeanFusion(nn.Module):
    def forward(self, embeddings):
        return torch.stack(embeddings).mean(0)


class Setting:
    """A layer with a tower for each modality, its reader and its caches."""

    def __init__(self, folder, modalities=("video",), stages=1, work=OFTEN, reader=None, **changed):
        self.encoders = {
            name: tiny_encoder(name, stages, **changed.pop("encoder", {})) for name in modalities
        }
        torch.manual_seed(1)
        towers = nn.ModuleDict({n: EncoderTower(n, e, embedding_dim=5) for n, e in self.encoders.items()})
        fusion = MeanFusion() if len(modalities) > 1 else None
        self.layer = ContentItemEmbedding(towers, N_ITEMS, 5, fusion)
        frames = {"video": 2, "image": 0}
        self.sources = {name: reader or Pixels(frames[name]) for name in modalities}
        self.reader = ItemReader(N_ITEMS, dict(self.sources))
        settings = {"dtype": "fp32", "device_fraction": 0.5, "always": False} | changed
        self.settings = CacheSettings(folder, range_items=4, workers=0, progress=False, **settings)
        self.caches = ActivationCaches(self.settings, self.layer, self.reader, TOKENS, work)

    def gradients(self):
        """Embeddings of IDS and all gradients, BatchNorm statistics frozen."""
        self.layer.train()
        for module in self.layer.modules():
            if isinstance(module, nn.BatchNorm3d | nn.BatchNorm2d):
                module.eval()
        self.layer.zero_grad()
        embeddings = self.layer.encode(self.reader.read(IDS))
        embeddings.square().sum().backward()
        return embeddings.detach(), {n: p.grad for n, p in self.layer.named_parameters() if p.requires_grad}
