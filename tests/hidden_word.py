"""Titles in which one word says what users like, and a random encoder whose output hides it.

Each title has one of six words that count, at any place among four others. The mean over the tokens of the
lowest state tells which one (a linear map finds it); behind two layers with large random weights little is
left of it.
"""

import random
from dataclasses import dataclass
from pathlib import Path

import torch

KINDS, OTHERS, LENGTH = 6, 30, 4
NEW = 60  # of the items of a release
WORDS = [f"kind{number}" for number in range(KINDS)] + [f"other{number}" for number in range(OTHERS)]


@dataclass
class Titled:
    """Titles, and which word of those that count each of them has."""

    titles: list[str]
    kinds: list[int]


def titled(items: int, seed: int) -> Titled:
    draw, titles = random.Random(seed), []
    kinds = [draw.randrange(KINDS) for _ in range(items)]
    for kind in kinds:
        words = [f"other{draw.randrange(OTHERS)}" for _ in range(LENGTH)]
        words.insert(draw.randrange(LENGTH + 1), f"kind{kind}")
        titles.append(" ".join(words))
    return Titled(titles, kinds)


def write_release(folder: Path, items: Titled, users: int, seed: int, shuffled: bool = False) -> Path:
    """A release whose users each like one kind; the last item of each is new, so that its title alone tells.

    Parameters
    ----------
    shuffled : bool
        Each item has the title of another one, so that titles say nothing.
    """
    draw, titles = random.Random(seed), list(items.titles)
    if shuffled:
        draw.shuffle(titles)
    of_kind = [[item for item, own in enumerate(items.kinds) if own == kind] for kind in range(KINDS)]
    lines = ["user,item,timestamp"]
    for user in range(users):
        liked = of_kind[draw.randrange(KINDS)]
        seen = draw.sample([item for item in liked if item >= NEW], 10)
        seen.append(draw.choice([item for item in liked if item < NEW]))
        lines += [f"u{user},i{item},{time}" for time, item in enumerate(seen)]
    folder.mkdir(parents=True)
    (folder / "MicroLens-hidden_pairs.csv").write_text("\n".join(lines) + "\n")
    rows = ["item,title", *(f"i{item},{title}" for item, title in enumerate(titles))]
    (folder / "MicroLens-hidden_titles.csv").write_text("\n".join(rows) + "\n")
    return folder


def save_encoder(folder: Path, seed: int, deviation: float = 0.4) -> Path:
    """A BERT of two layers and a tokenizer of words; ``deviation`` is that of its weights."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import AutoModel, BertConfig, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    named = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), special, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named).save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary), max_position_embeddings=64, initializer_range=deviation, **sizes
    )
    AutoModel.from_config(config).save_pretrained(folder)
    return folder


def tokens(titles: list[str]) -> torch.Tensor:
    """What the tokenizer and the reader of titles make of them, int32 [N, 2, 7]."""
    ids = torch.tensor([[2, *(4 + WORDS.index(word) for word in title.split()), 3] for title in titles])
    return torch.stack([ids, torch.ones_like(ids)], dim=1).int()
