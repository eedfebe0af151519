"""Tells, while a table is read by a fast parser, whether it holds bytes that parsers do not agree on."""

import io

import numpy as np

_BLOCK = 1 << 20


class PlainBytes(io.RawIOBase):
    """Hands through the bytes of a stream and notes what is not plain in them.

    Parameters
    ----------
    stream : BinaryIO
        The table.
    separator : str
        Of its columns, one ASCII character.

    Attributes
    ----------
    odd
        There was a NUL byte, at which pandas ends a field, or a carriage return without a line feed, at which
        it ends a line.
    quotes
        There was a double quote.
    separators
        How many separators there were.
    """

    def __init__(self, stream: io.BufferedIOBase, separator: str):
        self._stream = stream
        self._separator = ord(separator)
        self.separators = 0
        self._after_return = False
        self.odd = False
        self.quotes = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # io calls it with this alone
        block = self._stream.read(len(buffer))
        self._look_at(block)
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._stream.close()
        super().close()

    def buffered(self) -> io.BufferedReader:
        """A reader of large blocks."""
        return io.BufferedReader(self, _BLOCK)

    def _look_at(self, block: bytes) -> None:
        if not self.odd:
            self.odd = b"\0" in block or self._has_lone_return(block)
        self.quotes = self.quotes or b'"' in block
        self.separators += int(np.count_nonzero(np.frombuffer(block, dtype=np.uint8) == self._separator))

    def _has_lone_return(self, block: bytes) -> bool:
        """Whether a carriage return stands without a line feed behind it, which may be in the next block."""
        if self._after_return and not block.startswith(b"\n"):
            return True
        self._after_return = block.endswith(b"\r")
        returns = block.count(b"\r")
        return returns > 0 and returns - self._after_return != block.count(b"\r\n")
