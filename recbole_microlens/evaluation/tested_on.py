"""What a run was tested on, in words: metrics on other targets cannot be held against each other."""

from __future__ import annotations

from recbole_microlens.config.cold_settings import COLD
from recbole_microlens.errors import printable


def tested_on(config: dict) -> str:
    """What the targets of a test are, where they are not a user's last interactions.

    Parameters
    ----------
    config : dict
        Of a result.

    Returns
    -------
    str
        Under ``protocol: cold``, with its cut; empty under any other protocol.
    """
    if config.get("protocol") != COLD:
        return ""
    return f"cold items (cold_cut {printable(config.get('cold_cut'))}), ranked among all items"


def users_tested(config: dict) -> str:
    """How many users the test ranked, in words, where ``test_users`` drew some; empty where it ranked all."""
    number = config.get("test_users")
    return "" if number is None else f"at most {printable(number)} users, drawn by the seed"
