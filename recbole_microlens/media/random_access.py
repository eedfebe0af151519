"""Whether decoding may begin at a packet of an mp4, so that all that is shown after it comes out exactly."""

from __future__ import annotations

import av

_KINDS = {
    "h264": (4, lambda head: head & 0x1F, frozenset({5})),
    "hevc": (21, lambda head: head >> 1 & 0x3F, frozenset({19, 20, 21})),
}
"""By codec: the byte of its configuration record whose last two bits are the size of a length, less one; the
kind of a unit by its first byte; and the kinds that nothing shown later reaches behind: in H.264 the slices
of an IDR picture, in HEVC those of IDR and CRA pictures (ISO/IEC 14496-15, 5.3.3 and 8.3.3; ITU-T H.264,
table 7-1; H.265, table 7-1). An I picture that is none of these may have pictures after it that refer to
some before it, whatever the container says."""

RANDOM_ACCESS_CODECS = frozenset(_KINDS)

_SLICES = {"h264": range(1, 6), "hevc": range(0, 32)}


def starts_afresh(packet: av.Packet, codec: str, configuration: bytes | None) -> bool:
    """Whether a packet holds a picture that decoding may begin at, by its own first slice.

    Parameters
    ----------
    packet : av.Packet
        A picture as an mp4 stores it: units, each after its length.
    codec : str
        FFmpeg's name; of any but ``h264`` and ``hevc`` the answer is no.
    configuration : bytes, optional
        The stream's ``avcC`` or ``hvcC`` record; without one the answer is no.
    """
    if codec not in RANDOM_ACCESS_CODECS or not configuration:
        return False
    place, kind_of, afresh = _KINDS[codec]
    if len(configuration) <= place or configuration[0] != 1:
        return False
    bytes_of_length = (configuration[place] & 3) + 1
    data, at = memoryview(packet), 0
    while at + bytes_of_length < len(data):
        length = int.from_bytes(data[at : at + bytes_of_length], "big")
        kind = kind_of(data[at + bytes_of_length])
        if kind in _SLICES[codec]:
            return kind in afresh
        at += bytes_of_length + length
    return False
