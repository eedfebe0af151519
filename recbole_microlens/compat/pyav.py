"""What PyAV before 18 has no names for."""

ACCURATE_BICUBIC = 0x4 | 0x40000 | 0x2000 | 0x4000
"""swscale's bicubic, accurate_rnd, full_chroma_int and full_chroma_inp; PyAV before 18 names only the first.

Without the three flags swscale drops chroma columns and darkens by 1.5 levels: 38 dB, with them 50 dB."""
