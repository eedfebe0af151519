"""A template that puts an item's title, tags and counts into the text that an encoder reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter

from recbole_microlens.errors import MicroLensError, printable

TITLE = "title"


@dataclass(frozen=True)
class TitleTemplate:
    """How an item's text is made of its fields.

    Attributes
    ----------
    parts : tuple of (str, str or None)
        Text, and the field that follows it; None behind the last one.

    Examples
    --------
    >>> template = TitleTemplate.of("A video titled: {title}. Tags: {tag}.")
    >>> template.fields
    ('title', 'tag')
    >>> template.filled({"title": "Cats", "tag": "animals"})
    'A video titled: Cats. Tags: animals.'
    """

    parts: tuple[tuple[str, str | None], ...] = (("", TITLE),)

    @classmethod
    def of(cls, text: str | None) -> TitleTemplate:
        """The template of the setting ``title_template``; of None the title as it is.

        Parameters
        ----------
        text : str, optional
            Names of columns of the ``.item`` file in braces; ``{{`` and ``}}`` are braces.

        Raises
        ------
        MicroLensError
            A brace is not closed, names nothing, or says how its field is to be formatted; or there is none.
        """
        if text is None:
            return cls()
        try:
            found = list(Formatter().parse(text))
        except ValueError as error:
            raise _wrong(text, f"{error}") from error
        for _, field, form, conversion in found:
            if field is not None and (form or conversion or not field.strip() or set(field) & set(".[]")):
                raise _wrong(text, "braces hold the name of a column and nothing else")
        if all(field is None for _, field, _, _ in found):
            raise _wrong(text, "it names no column, and all items would have the same text")
        return cls(tuple((literal, field) for literal, field, _, _ in found))

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the columns that are put in, each once."""
        return tuple(dict.fromkeys(field for _, field in self.parts if field is not None))

    @property
    def is_the_title(self) -> bool:
        """Whether the text is the title as it is."""
        return self == TitleTemplate()

    def filled(self, values: Mapping[str, str]) -> str:
        """The text of an item; a field without a value leaves its place empty."""
        return "".join(text + values.get(field or "", "") for text, field in self.parts)

    def examples(self) -> list[str]:
        """Texts of items that have nothing in common but what the template puts before the first field."""
        return [self.filled(dict.fromkeys(self.fields, value)) for value in _DIFFERENT]


# Beginnings of titles that a tokenizer may join to what stands before them, each in another way.
_DIFFERENT = ("", "a", "The", "1", ".", "'s", "-", " b", "\u4e2d", "\u00e9", "#x")
THE_TITLE = TitleTemplate()


def _wrong(text: str, reason: str) -> MicroLensError:
    shown = repr(printable(text) if len(text) <= 100 else f"{printable(text[:97])}...")
    return MicroLensError(
        f"title_template: {shown}: {reason}. Write columns of the .item file in braces, such as "
        "'A video titled: {title}. Tags: {tag}.', and a brace itself twice."
    )
