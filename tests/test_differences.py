"""docs/differences.md: its settings are keys, the bold ones are the preset's, its counts are the models'."""

import re
from pathlib import Path

import pytest
import yaml

from recbole_microlens.config import Config, known_keys, properties_folder
from recbole_microlens.config.text import YamlLoader, read_yaml

PAGE = (Path(__file__).parents[1] / "docs" / "differences.md").read_text(encoding="utf-8")
SETTING = re.compile(r"`([a-z_]+): ([^`]+)`")


def test_every_setting_of_the_page_is_a_key():
    named = dict(SETTING.findall(PAGE))
    assert len(named) > 12
    assert set(named) <= known_keys() | {"protocol"}


def test_the_bold_settings_are_the_presets():
    bold = {
        key: yaml.load(value, Loader=YamlLoader)
        for key, value in re.findall(r"\*\*`([a-z_]+): ([^`]+)`\*\*", PAGE)
    }
    in_files = {}
    for path in sorted((properties_folder() / "published").rglob("*.yaml")):
        for key, value in read_yaml(path).items():
            in_files.setdefault(key, []).append(value)
    assert set(in_files) - {"eval_step"} == set(bold)
    assert all(value in in_files[key] for key, value in bold.items())


@pytest.mark.parametrize("name", ["SASRecV", "GRU4RecV", "NextItNetV"])
def test_parameters_of_the_user_models_are_as_the_page_says(name):
    config = Config(name, "any", config_dict={"use_gpu": False})
    stock = next(cls for cls in config.model_class.__mro__ if cls.__module__.startswith("recbole.model."))
    model = stock(config, _OneItem())
    ours = sum(p.numel() for key, p in model.named_parameters() if key != "item_embedding.weight")
    released, counted, more = re.search(rf"\| {name} \| ([\d,]+) \| ([\d,]+) \| ([\d,]+):", PAGE).groups()
    assert f"{ours:,}" == counted
    width, length = config["hidden_size"] or config["embedding_size"], config["MAX_ITEM_LIST_LENGTH"]
    assert f"{_released(name, width, length):,}" == released
    assert ours - _released(name, width, length) == int(more.replace(",", ""))


class _OneItem:
    def num(self, field):
        return 2


def _released(name: str, d: int, length: int) -> int:
    """Parameters of the released user model, of its layers' sizes."""
    norm, conv = 2 * d, 3 * d * d + d
    if name == "SASRecV":
        block = 4 * d * d + norm + (4 * d * d + 4 * d) + (4 * d * d + d) + norm
        return length * d + norm + 2 * block
    return 3 * d * 2 * d if name == "GRU4RecV" else 4 * 2 * (conv + norm)
