"""What the paper prints (Ruffini et al., MICCAI 2024), to stand beside our own figures. Percent; AIforCOVID releases 1, 2 and 3.

Its Table S1 is in a supplement that is not part of the public text, so nothing of it can be given here.
"""

from collections.abc import Mapping

TASK = "prognosis"
METRICS = ("acc", "f1", "gmean")

# Table 1: mean over 18 ImageNet backbones; experiment → scheme → (ACC, F1, G-mean).
TABLE_1: Mapping[str, Mapping[str, tuple[float, float, float]]] = {
    "stl-prognosis": {"cv": (66.0, 63.9, 65.9), "loco": (61.2, 57.3, 60.1)},
    "ft": {"cv": (67.3, 63.1, 66.9), "loco": (64.8, 58.9, 63.8)},
    "mdmt": {"cv": (68.6, 66.6, 68.5), "loco": (65.7, 64.3, 66.0)},
}

# Table 2: stars of MDMT against a baseline; (statistic, baseline) → scheme → (ACC, F1, G-mean). "" where none is printed.
TABLE_2: Mapping[tuple[str, str], Mapping[str, tuple[str, str, str]]] = {
    ("mean", "stl-prognosis"): {"cv": ("***", "***", "***"), "loco": ("***", "***", "***")},
    ("mean", "ft"): {"cv": ("**", "***", "**"), "loco": ("", "", "")},
    ("sd", "stl-prognosis"): {"cv": ("*", "*", "*"), "loco": ("*", "", "*")},
    ("sd", "ft"): {"cv": ("", "", ""), "loco": ("*", "", "*")},
}
TABLE_2_DOUBT = (
    "The public text of the paper is not at one with itself on σ in LOCO: its Table 2 has the stars under ACC and G-mean, "
    "its prose speaks of ACC and F1. Printed here is the table."
)
SEVERITY_REMARK = (
    "The paper prints no figures of τ2; it says that MDMT does not change them significantly against STL τ2 and FT τ1→τ2."
)
