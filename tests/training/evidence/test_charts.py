"""What the charts of the page show, asked of the drawn figure: the picture itself is compared by nobody."""

from io import BytesIO

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from training.evidence import charts


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts give their figure instead of its bytes."""
    monkeypatch.setattr(charts, "png", lambda figure: figure)


def axes(figure: object) -> list[Axes]:
    return figure.axes  # type: ignore[attr-defined, no-any-return]


SPANS = {"junior": (0.7, 0.6, 0.8), "one": (0.5, 0.4, 0.55), "two": (0.6, 0.5, 0.75)}


@pytest.mark.usefixtures("drawn")
def test_intervals_stand_in_order_beside_the_band_of_the_reference_with_names_on_the_first_panel_only() -> None:
    left, right = axes(charts.interval_chart({"ACC": SPANS, "κ": SPANS}, "junior"))
    assert [label.get_text() for label in left.get_yticklabels()] == ["one", "two"]
    assert {label.get_text() for label in right.get_yticklabels()} == {""} and right.get_title() == "κ"
    band = left.patches[0].get_extents().transformed(left.transData.inverted())
    assert (band.x0, band.x1) == pytest.approx((0.6, 0.8))
    (bars,) = left.containers
    points, _, (whiskers,) = bars.lines
    assert points.get_xdata().tolist() == [0.5, 0.6] and points.get_ydata().tolist() == [1, 0]  # the first at the top
    np.testing.assert_allclose([segment[:, 0] for segment in whiskers.get_segments()], [[0.4, 0.55], [0.5, 0.75]])


@pytest.mark.usefixtures("drawn")
def test_reliability_is_the_share_right_of_each_step_of_confidence() -> None:
    probabilities = np.array([[0.95, 0.05]] * 4 + [[0.4, 0.6]] * 2)
    truth = np.array([0, 0, 0, 1, 1, 0])
    (axis,) = axes(charts.reliability_chart({"net": (probabilities, truth)}))
    diagonal, line = axis.lines
    np.testing.assert_allclose(line.get_xydata(), [[0.6, 0.5], [0.95, 0.75]])
    np.testing.assert_allclose(diagonal.get_xydata(), [[0, 0], [1, 1]])
    assert line.get_label() == "net (6 films)"
    sizes = axis.collections[0].get_sizes()
    assert sizes[1] - sizes[0] == pytest.approx(2.0 * (4 - 2))


@pytest.mark.usefixtures("drawn")
def test_a_curve_has_a_band_from_its_low_to_its_high_ends() -> None:
    (axis,) = axes(charts.curve_chart({"MDMT": [(70, 65, 75), (80, 79, 81)]}, [60, 480], "films", "AUC"))
    (line,) = axis.lines
    np.testing.assert_allclose(line.get_xydata(), [[60, 70], [480, 80]])
    (band,) = axis.collections
    corners = band.get_paths()[0].vertices
    assert corners.min(axis=0).tolist() == [60, 65] and corners.max(axis=0).tolist() == [480, 81]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("films", "AUC")


def test_a_chart_is_a_png_with_something_on_it_and_the_same_every_time() -> None:
    once, again = (charts.interval_chart({"ACC": SPANS}, "junior") for _ in range(2))
    seen = np.asarray(Image.open(BytesIO(once)).convert("RGB"))
    assert once == again and seen.std() > 5
