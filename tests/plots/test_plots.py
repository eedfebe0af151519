"""Pictures show the numbers they are given, at the width of a column, the same each time."""

import re
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from recbole_microlens.errors import MicroLensError
from recbole_microlens.plots import style
from recbole_microlens.plots.bars import Bar, comparison_bars
from recbole_microlens.plots.curves import Curve, training_curves
from recbole_microlens.plots.dataset import dataset_statistics
from recbole_microlens.plots.encoders import EncoderRow, encoder_accuracies
from recbole_microlens.plots.groups import groups_of_targets


def curves():
    first = Curve("SASRecID", [3.0, 2.0, 1.5], [(0, 0.1), (1, 0.3), (2, 0.2)], best=1)
    return training_curves([first, Curve("a $5 & $6 <model>", [2.0, 1.0], [], None)], "hit@10")


def bars():
    rows = [
        Bar("Pop", [0.01, None], [None, None], is_stock=True),
        Bar("SASRecV", [0.0948, 0.05], [0.002, None]),
    ]
    return comparison_bars(rows, ["hit@10", "ndcg@10"])


def encoders():
    rows = [
        EncoderRow("B", 90.0, {"frozen": 4.0, "top": 9.0, "full": 8.0}, own=[9.5]),
        EncoderRow("A", 75.0, {"frozen": 4.5, "top": 8.0, "full": 7.0}),
        EncoderRow("C", 95.0, {"frozen": 1.0, "top": 8.5, "full": 7.5}),
    ]
    return encoder_accuracies(rows, "HR@10")


def groups():
    return groups_of_targets(
        ["0", "1-4", "5-9"],
        [3, 1200, 5],
        {"SASRecV": [None, 2.0, 1.1]},
        "hit@10",
        "training interactions",
        "SASRecID",
    )


def dataset():
    rng = np.random.default_rng(0)
    return dataset_statistics(rng.zipf(1.6, 500), 5 + rng.poisson(3, 900), rng.gamma(2, 80, 500))


ALL = {"curves": curves, "bars": bars, "encoders": encoders, "groups": groups, "dataset": dataset}


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
@pytest.mark.parametrize("form", style.FORMATS)
def test_a_picture_is_as_wide_as_a_column_and_the_same_each_time(make, form, tmp_path):
    path = tmp_path / "sub" / f"picture.{form}"
    style.save(make(), path)
    assert path.read_bytes() == style.rendered(make(), form)
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    if form == "png":
        with Image.open(path) as image:
            assert image.width == pytest.approx(style.COLUMN_MM / 25.4 * 300, abs=1)
    else:
        root = ET.fromstring(path.read_bytes())
        width = float(root.get("width").removesuffix("pt"))
        assert width == pytest.approx(style.COLUMN_MM / 25.4 * 72, abs=0.1)
        assert not re.search(r"href=.(?!#)|url\((?!#)|@import", path.read_text())


def texts(figure):
    root = ET.fromstring(style.rendered(figure, "svg"))
    return ["".join(each.itertext()).strip() for each in root.iter("{http://www.w3.org/2000/svg}text")]


def test_a_name_is_shown_as_it_is():
    assert "a $5 & $6 <model>" in texts(curves())


def test_every_axis_has_a_name():
    for make in ALL.values():
        for axes in make().axes:
            assert axes.get_ylabel() or axes.get_xlabel() or axes.get_title(), make


def test_curves_are_the_numbers_with_a_ring_around_the_epoch_that_is_kept():
    above, below = curves().axes
    assert above.lines[0].get_ydata().tolist() == [3.0, 2.0, 1.5]
    assert below.lines[0].get_ydata().tolist() == [0.1, 0.3, 0.2]
    ring = below.lines[1]
    assert (ring.get_xdata().tolist(), ring.get_ydata().tolist()) == ([1], [0.3])


def test_bars_are_as_long_as_their_numbers_and_stock_ones_are_hatched():
    hit, ndcg = bars().axes
    assert [bar.get_width() for bar in hit.patches] == [0.01, 0.0948]
    assert [bool(bar.get_hatch()) for bar in hit.patches] == [True, False]
    assert [bar.get_width() for bar in ndcg.patches] == [0.05]
    assert {"0.0948", "not known"} <= {text.strip() for text in texts(bars())}


def test_encoders_are_in_the_order_of_kinetics_with_the_agreement_of_both_orders():
    figure = encoders()
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["A", "B", "C"]
    assert right.lines[0].get_xdata().tolist() == [4.5, 4.0, 1.0]
    labels = [line.get_label() for line in right.lines]
    assert labels[:2] == ["frozen (rank correlation -1.00)", "top layers trained (rank correlation +0.50)"]
    assert (right.lines[3].get_xdata().tolist(), right.lines[3].get_ydata().tolist()) == ([9.5], [1])


def test_a_ratio_that_is_not_defined_is_said():
    figure = groups()
    values = figure.axes[0].lines[0].get_ydata()
    assert np.isnan(values[0]) and values[1:].tolist() == [2.0, 1.1]
    assert {"not defined", "1-4", "n = 1,200"} <= set(texts(figure))


def test_colours_can_be_told_apart_without_hue():
    """Each line has a marker and, with the next ones, a dash of its own, so that grey suffices."""
    assert len(set(style.COLOURS)) == len(style.COLOURS) <= len(style.MARKERS)


def test_drawing_leaves_matplotlib_as_it_was():
    import matplotlib

    before = dict(matplotlib.rcParams)
    curves()
    assert dict(matplotlib.rcParams) == before


def test_without_matplotlib_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MicroLensError, match=r"pip install 'recbole-microlens\[plots\]'"):
        curves()


def test_another_kind_of_file_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(MicroLensError, match="pictures are .png or .svg"):
        style.save(curves(), tmp_path / "sub" / "picture.jpg")
    assert not (tmp_path / "sub").exists()


def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    old = tmp_path / "picture.svg"
    old.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError):
        style.save(curves(), old)
    assert old.read_text() == "old" and len(list(tmp_path.iterdir())) == 1
