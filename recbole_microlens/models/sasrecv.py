"""SASRecV: SASRec on video, trained end to end (``SASRec_V`` in Table 2 of arXiv 2309.15379)."""

from recbole_microlens import compat
from recbole_microlens.models.content_model import ContentModel

compat.fix_recbole()
from recbole.model.sequential_recommender import SASRec  # noqa: E402


class SASRecV(ContentModel, SASRec):
    """RecBole's SASRec whose item embedding is a partially unfrozen video encoder."""
