"""A trained model put together again from its run folder: the backbone, and a table for the encoders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from recbole.utils import ModelType
from torch import Tensor, nn

from recbole_microlens.errors import MicroLensError, explained
from recbole_microlens.export.catalogue import Catalogue, Users
from recbole_microlens.export.restored_dataset import RestoredDataset
from recbole_microlens.items.table import ItemTable
from recbole_microlens.models.backbones import ITEM_ROWS
from recbole_microlens.models.batch_items import replaced
from recbole_microlens.training import checkpoint
from recbole_microlens.training.resumable_trainer import BEST

_BUILT_FROM_PAIRS = (ModelType.GENERAL, ModelType.SEQUENTIAL, ModelType.TRADITIONAL)
# They read columns of the dataset, or files beside it, while they are built.
_READ_COLUMNS = ("DIEN", "DIN", "FDSA", "GRU4RecF", "GRU4RecKG", "KSR", "LDiffRec", "S3Rec", "SASRecF")


def needs_dataset(config) -> bool:
    """Whether a model is built from more than ids and interactions, so that its dataset has to be there."""
    return config["MODEL_TYPE"] not in _BUILT_FROM_PAIRS or config["model"] in _READ_COLUMNS


def network_of_run(config, folder: Path, catalogue: Catalogue, users: Users | None) -> nn.Module:
    """The best model of a run in eval mode, on the device of ``config``; its encoders are left out.

    Raises
    ------
    MicroLensError
        Its checkpoint is missing, damaged or of another model.
    """
    state = checkpoint.load(folder / BEST)
    if state["model"] != config["model"]:
        raise MicroLensError(
            f"{folder / BEST} holds a {state['model']}, and the settings beside it are of a "
            f"{config['model']}. Give the folder of another run."
        )
    if catalogue.user_table is not None:
        assert catalogue.table is not None
        network: nn.Module = ProductOfTables(config["USER_ID_FIELD"], catalogue.user_table, catalogue.table)
        return network.to(config["device"]).eval()
    devices = [config["device"]] if config["device"].type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        network = _with_weights(config, state, catalogue, users, folder / BEST)
    return network.to(config["device"]).eval()


def _with_weights(config, state: dict, catalogue: Catalogue, users: Users | None, path: Path) -> nn.Module:
    dataset = RestoredDataset(config, catalogue, users)
    of_items: list[str] = []
    with explained(f"{path} does not fit its run's settings", "Give the folder of another run."):
        if config.is_content_model:
            network = _served(config.model_class)(config, dataset)
            of_items = [name for name, part in network._modules.items() if isinstance(part, ItemTable)]
            extra = state["state_dict"].get("item_embedding.extra")
            assert catalogue.table is not None
            network._put_in_place_of(network.item_embedding, ItemTable(catalogue.table, extra))
        else:
            network = config.model_class(config, dataset)
        weights = {
            name: value
            for name, value in state["state_dict"].items()
            if name.partition(".")[0] not in of_items or name.endswith("item_embedding.bias")
        }
        missing, unexpected = network.load_state_dict(weights, strict=False)
        missing = [name for name in missing if name.partition(".")[0] not in of_items]
        if missing or unexpected:
            raise ValueError(f"missing {missing[:3]}, unexpected {unexpected[:3]}")
        network.load_other_parameter(state["other_parameter"])
    return network


class _ItemsOfTable:
    """Mixin before a content model: its items are rows of a table, and nothing is encoded or counted."""

    def _content_embedding(self, config, stock: nn.Embedding, dataset) -> ItemTable:
        # Filled afterwards. A vector on no device takes no memory.
        nowhere = torch.empty(self.n_items, stock.embedding_dim, device="meta")
        return ItemTable(nowhere)

    def _count(self, dataset) -> None:
        """Popularity is for training."""


@cache
def _served(model_class: type) -> type:
    return type(model_class.__name__, (_ItemsOfTable, model_class), {"__module__": __name__})


class ProductOfTables(nn.Module):
    """A model that is nothing but the product of a vector for each user and one for each item.

    Parameters
    ----------
    user_field : str
        RecBole's name for the column of users.
    users, items : Tensor
        [n_users, d] and [n_items, d].
    """

    def __init__(self, user_field: str, users: Tensor, items: Tensor):
        super().__init__()
        self.user_field = user_field
        self.users = nn.Parameter(users, requires_grad=False)
        self.item_embedding = ItemTable(items)

    def full_sort_predict(self, interaction) -> Tensor:
        """The scores of all items for some users, [B * n_items]."""
        return (self.users[interaction[self.user_field]] @ self.item_embedding.weight.T).view(-1)


def add_rows(network: nn.Module, backbone: str, embeddings: Tensor) -> None:
    """Let a content model rank more items.

    What it has by item id besides their embeddings is zeros for them.

    Parameters
    ----------
    network : nn.Module
        As :func:`network_of_run` gives it.
    backbone : str
        Its backbone.
    embeddings : Tensor [m, d]
    """
    table = network.item_embedding
    assert isinstance(table, ItemTable)
    table.extend(embeddings)
    grown = table.n_items - int(network.n_items)
    for name in ITEM_ROWS.get(backbone, ()):
        owner, _, key = name.rpartition(".")
        module = network.get_submodule(owner)
        if isinstance(module, ItemTable):
            continue
        rows = module.get_parameter(key)
        more = rows.new_zeros(grown, *rows.shape[1:])
        setattr(module, key, nn.Parameter(torch.cat([rows.detach(), more]), requires_grad=False))
    network.n_items = table.n_items
    if backbone == "BERT4Rec":
        network.mask_token = table.n_items


@contextmanager
def against_identity(network: nn.Module, replacements: dict[str, str]) -> Iterator[None]:
    """Inside the block, ``full_sort_predict`` gives the vector [d] of a user that item vectors are
    multiplied with: its product with a table becomes that with the identity.

    Parameters
    ----------
    replacements : dict[str, str]
        What the model has by item besides the table, by name: ``identity`` or ``zeros``.
    """
    table = network.item_embedding
    identity = torch.eye(table.embedding_dim, device=next(iter(table.buffers())).device)
    stand_ins = {"identity": identity, "zeros": identity.new_zeros(len(identity))}
    values: dict[str, object] = {name: stand_ins[what] for name, what in replacements.items()}
    if hasattr(network, "n_items"):
        values["n_items"] = len(identity)
    with table.weight_is(identity), replaced(network, values):
        yield
