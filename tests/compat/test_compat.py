"""Work-arounds: what they mend, and that they leave alone what is whole."""

import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
from recbole.data.dataset import Dataset
from recbole.utils import FeatureType
from scipy import sparse

from recbole_microlens.compat import doctor, requirements
from recbole_microlens.compat.recbole import PandasThree


def printed_by(code):
    """What a fresh interpreter prints; its imports are its own."""
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_numpy_aliases_that_recbole_reads_are_there():
    assert isinstance(np.float64(1), np.float) and isinstance(np.float64(1), np.float_)
    assert np.zeros(1, dtype=np.bool).dtype == bool


def test_importing_recboles_models_leaves_anomaly_detection_off():
    code = (
        "import torch; from recbole_microlens import models; "
        "import recbole.model.sequential_recommender.sine; print(torch.is_anomaly_enabled())"
    )
    assert printed_by(code) == "False"


def test_sparse_matrices_take_the_update_of_recboles_graph_models():
    matrix = sparse.dok_matrix((2, 3), dtype=np.float32)
    matrix._update({(0, 1): 1.0, (1, 2): 1.0})
    assert matrix.toarray().tolist() == [[0, 1, 0], [0, 0, 1]]


@pytest.mark.slow
def test_video_libraries_import_whatever_torchvision_was_compiled_for():
    code = (
        "import recbole_microlens; "
        "import torchvision.models.video, pytorchvideo.models.hub; print('imported')"
    )
    assert printed_by(code) == "imported"


def test_missing_values_are_filled_under_copy_on_write():
    class Filled(PandasThree, Dataset):
        def __init__(self):
            self.feat_name_list = ["item_feat"]
            self.field2type = {
                "tag": FeatureType.TOKEN,
                "likes": FeatureType.FLOAT,
                "title": FeatureType.TOKEN_SEQ,
            }
            title = pd.Series([np.array([1, 2]), np.nan, np.nan], dtype=object)
            self.item_feat = pd.DataFrame(
                {"tag": [2.0, np.nan, 1.0], "likes": [1.0, 3.0, np.nan], "title": title}
            )

    dataset = Filled()
    before_pandas_three = pd.__version__ < "3"
    with pd.option_context("mode.copy_on_write", True) if before_pandas_three else nullcontext():
        dataset._fill_nan()
    assert dataset.item_feat["tag"].tolist() == [2, 0, 1]
    assert dataset.item_feat["likes"].tolist() == [1, 3, 2]
    assert [list(title) for title in dataset.item_feat["title"]] == [[1, 2], [], []]


def test_doctor_lists_versions_and_finds_nothing_missing():
    report, healthy = doctor.examine()
    assert healthy
    assert f"numpy {np.__version__}" in report
    assert "devices: " in report


def test_doctor_names_what_is_missing(monkeypatch):
    names = requirements.required()
    monkeypatch.setattr(requirements, "required", lambda: [*names, "no-such-package"])
    report, healthy = doctor.examine()
    assert not healthy
    assert "Missing: no-such-package" in report


@pytest.mark.slow
def test_importing_this_package_lets_a_users_own_models_of_transformers_import():
    code = "import recbole_microlens; from transformers import ViTModel; print(ViTModel.__name__)"
    assert printed_by(code) == "ViTModel"


def test_importing_this_package_imports_no_library_that_takes_long():
    code = "import sys, recbole_microlens.cli; print({'torch', 'pandas', 'torchvision'} & sys.modules.keys())"
    assert printed_by(code) == "set()"


@pytest.mark.slow
def test_torchvision_that_was_looked_for_is_watched_no_longer():
    code = (
        "import recbole_microlens, torchvision.models.video; "
        "from recbole_microlens.compat.on_import import _Watch, watch; watch(); "
        "print('torchvision' in _Watch.pending)"
    )
    assert printed_by(code) == "False"
