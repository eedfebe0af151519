"""The settings of a run: what each may be, and which of its layers it comes from.

:mod:`~recbole_microlens.config.schema` has each key once, :mod:`~recbole_microlens.config.loading` the
layers, and :mod:`~recbole_microlens.config.config` puts both into RecBole's ``Config``.
"""

from recbole_microlens.config.config import Config, say_whose_data, wanted_processes, warn_without_gpu
from recbole_microlens.config.device import device_settings
from recbole_microlens.config.model_class import is_baseline, is_content_model, model_class
from recbole_microlens.config.property_files import properties_folder
from recbole_microlens.config.renamed import under_new_names
from recbole_microlens.config.schema import known_keys
from recbole_microlens.config.text import read_yaml

__all__ = [
    "Config",
    "device_settings",
    "is_baseline",
    "is_content_model",
    "known_keys",
    "model_class",
    "properties_folder",
    "read_yaml",
    "say_whose_data",
    "under_new_names",
    "wanted_processes",
    "warn_without_gpu",
]
