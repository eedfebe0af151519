"""Every setting of a run with its value and the place that the value comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recbole_microlens import compat
from recbole_microlens.config.config import Config
from recbole_microlens.config.kinds import shown
from recbole_microlens.config.loading import OF_THE_USER, Layer, origin
from recbole_microlens.config.property_files import properties_folder
from recbole_microlens.config.text import as_plain, line_of

SETTLED = "settled"
# What the machine settles where nobody else does; `as_given` leaves it out.
OF_THE_MACHINE = ("gpu_id", "show_progress")


@dataclass(frozen=True)
class Origin:
    """A setting's value and where it comes from.

    Attributes
    ----------
    key : str
        The setting.
    value : object
        As the run uses it.
    layer : str
        One of :data:`~recbole_microlens.config.loading.LAYERS`, or ``settled``: it follows from other
        settings, from the model or from the machine.
    place : str
        The file with its line, or "command line", in words; empty if there is none.
    said : object
        What stands in that place, where the value was settled to be another.
    reason : str, optional
        Why it was.
    """

    key: str
    value: object
    layer: str
    place: str
    said: object = None
    reason: str | None = None

    def in_words(self) -> str:
        """Layer and place, as in "model, properties/content.yaml:9"."""
        if self.layer == SETTLED:
            return f"{SETTLED}: {self.reason}" + f"; {self.place} says {shown(self.said)}" * bool(self.place)
        return f"{self.layer}, {self.place}" if self.place != self.layer else self.layer


def origins(config: Config) -> list[Origin]:
    """Say of each setting of a run where it comes from.

    Returns
    -------
    list of Origin
        In the order of the alphabet.
    """
    used = config.as_given | {key: config[key] for key in OF_THE_MACHINE if key in config}
    return [_origin(config, key, value) for key, value in sorted(used.items())]


def _origin(config: Config, key: str, value) -> Origin:
    layer = origin(config.layers, key)
    reason = config.settled.get(key, "as this machine is" if key in OF_THE_MACHINE else "by RecBole")
    if layer is None or (key in OF_THE_MACHINE and layer.name not in OF_THE_USER):
        return Origin(key, value, SETTLED, "", reason=reason)
    said = layer.settings[key]
    said = said.__name__ if isinstance(said, type) else as_plain(key, said)
    place = _place(layer, key, config.model)
    if said == value:
        return Origin(key, value, layer.name, place)
    return Origin(key, value, SETTLED, place, said, reason)


def _place(layer: Layer, key: str, model: str) -> str:
    if layer.file is None:
        return layer.name if layer.name == "command line" else f"the name {model}"
    line = line_of(layer.file, key, layer.section)
    return f"{_shown(layer.file)}:{line}" if line else _shown(layer.file)


def _shown(file: Path) -> str:
    """A property file from its folder on; a user's file as it was given."""
    roots = {"properties": properties_folder(), "recbole/properties": compat.recbole_folder() / "properties"}
    for name, root in roots.items():
        resolved = file.resolve()
        if resolved.is_relative_to(root.resolve()):
            return str(Path(name) / resolved.relative_to(root.resolve()))
    return str(file)
