"""The Hugging Face hub, whose client tries five times, for half a minute, where there is no connection."""

_UNREACHABLE = ("ConnectError", "ConnectionError", "ProxyError")  # of httpx, and of requests


def require_hub(source: str) -> None:
    """Ask the hub once for a file of ``source``; a slow answer, or none that it has, is left to the client.

    Raises
    ------
    OSError
        No connection can be made.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

    if constants.HF_HUB_OFFLINE:  # the client says so itself, at once
        return
    try:
        get_hf_file_metadata(hf_hub_url(source, "config.json"))
    except Exception as error:
        if any(cls.__name__ in _UNREACHABLE for cls in type(error).__mro__):
            raise OSError(f"no connection to {constants.ENDPOINT}: {error}") from error
