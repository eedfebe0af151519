"""Titles of items, or texts made of several columns of the ``.item`` file: tokenised once, and looked up."""

from __future__ import annotations

import hashlib
import zipfile
from logging import getLogger
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recbole_microlens import files
from recbole_microlens.data.item_columns import read_item_column, read_item_columns
from recbole_microlens.data.missing import MissingContent
from recbole_microlens.encoders.spec import EncoderSpec
from recbole_microlens.errors import first_line
from recbole_microlens.items.modality import modality_settings
from recbole_microlens.items.title_template import THE_TITLE, TitleTemplate


class TitleReader:
    """Gives the tokens of items' titles by their internal ids; may be sent to worker processes.

    Parameters
    ----------
    path : Path
        The ``.item`` file that the titles are from.
    tokens : np.ndarray
        Original item id of each internal id, [n_items]; index 0 is padding.
    titles : dict[str, str]
        By original item id, the titles of the file in its order; some may be empty. With a template, what an
        item has in all its fields: empty where it has nothing.
    title_tokens : np.ndarray [titles + 1, 2, max_tokens], int32
        Token ids and attention mask of each of ``titles``, and of the empty title in the last row.
    missing : str
        What an item without a title gives: ``zeros`` (the empty title) or ``error``.
    template : TitleTemplate
        What the tokens were made by, for messages.
    """

    def __init__(
        self,
        path: Path,
        tokens: np.ndarray,
        titles: dict[str, str],
        title_tokens: np.ndarray,
        missing: str,
        template: TitleTemplate = THE_TITLE,
    ):
        self.tokens = tokens
        self.missing = missing
        is_plain = template.is_the_title
        self.missing_content = MissingContent(
            "no title" if is_plain else f"nothing in {', '.join(template.fields)}",
            path,
            "an empty title" if is_plain else "the template with nothing in it",
            "Convert the release again with its titles file",
        )
        self.title_tokens = title_tokens
        row_of = {item: row for row, item in enumerate(titles)}
        self._row = np.array([row_of.get(str(token), len(titles)) for token in tokens])
        self._has_title = np.array([bool(titles.get(str(token))) for token in tokens])

    def absent(self) -> np.ndarray:
        """Internal ids of the items whose title is empty or not there."""
        return np.flatnonzero(~self._has_title[1:]) + 1

    def read(self, item_ids: Tensor) -> Tensor:
        """Tokens of distinct items: internal ids, [U] int64 without padding -> int32 [U, 2, max_tokens]."""
        return torch.from_numpy(np.asarray(self.title_tokens[self._row[item_ids.numpy()]]))


def title_reader(config, tokens: np.ndarray) -> TitleReader:
    """The reader of the titles of a dataset, tokenised for the text encoder of a run.

    Raises
    ------
    MicroLensError
        There is no ``.item`` file, or it has no titles, or not the columns that ``title_template`` names.
    """
    path = Path(config["data_path"]) / f"{config['dataset']}.item"
    template = TitleTemplate.of(config["title_template"])
    columns = (config["field_separator"], config["ITEM_ID_FIELD"])
    if template.is_the_title:
        titles = read_titles(path, *columns)
        texts = [*titles.values(), ""]
    else:
        values = read_item_columns(path, template.fields, "title_template", *columns)
        titles = {item: "".join(of_item.values()) for item, of_item in values.items()}
        texts = [*map(template.filled, values.values()), template.filled({})]
    spec = modality_settings(config, "text").encoder
    title_tokens = tokenised(texts, path.parent, spec, config["max_title_tokens"])
    return TitleReader(path, tokens, titles, title_tokens, config["missing_media"], template)


def read_titles(path: Path, separator: str = "\t", item_field: str = "item_id") -> dict[str, str]:
    """Titles by original item id, in the order of an ``.item`` file; empty where there is none.

    Raises
    ------
    MicroLensError
        There is no such file, it has no column of item ids or of titles, or a row cannot be read.
    """
    return read_item_column(path, "title", "token_seq", "titles", separator, item_field)[0]


def tokenised(titles: list[str], folder: Path, spec: EncoderSpec, max_tokens: int) -> np.ndarray:
    """Tokens of titles, int32 [titles, 2, max_tokens]: memory-mapped from ``folder``, or made and kept there.

    The file's name is a hash of the tokenizer, ``max_tokens`` and the titles, so that a file of other titles
    is never taken. In a folder that cannot be written to, the tokens stay in memory.
    """
    from recbole_microlens.encoders.transformers.tokenizer import tokenize, tokenizer_fingerprint

    key = _fingerprint(titles, tokenizer_fingerprint(spec), max_tokens)
    path = folder / f"titles-{key}.npy"
    shape = (len(titles), 2, max_tokens)
    kept = _kept(path, shape)
    if kept is not None:
        return kept
    made = np.ascontiguousarray(tokenize(spec, titles, max_tokens), dtype=np.int32)
    if made.shape != shape:
        raise RuntimeError(f"the tokenizer of {spec.name} gave {made.shape}, wanted {shape}")
    _keep(made, path)
    return made


def _fingerprint(titles: list[str], tokenizer: str, max_tokens: int) -> str:
    digest = hashlib.sha256(f"{tokenizer}\n{max_tokens}\n".encode())
    for title in titles:
        text = title.encode()
        digest.update(len(text).to_bytes(4, "little") + text)
    return digest.hexdigest()[:16]


def _kept(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    if not path.is_file():
        return None
    try:
        kept = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        getLogger().warning(f"{path} is damaged ({first_line(error)}): the titles are tokenised again")
        return None
    is_ours = isinstance(kept, np.ndarray) and kept.shape == shape and kept.dtype == np.int32
    return kept if is_ours else None


def _keep(tokens: np.ndarray, path: Path) -> None:
    try:
        with files.written_whole(path, "wb") as file:
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(tokens))
            file.write(tokens.data)
    except OSError as error:
        getLogger().warning(
            f"{path.parent} cannot be written to: titles are tokenised in every run. {files.in_words(error)}"
        )
