"""The shipped recipes, one file each with `recipe() -> Recipe`; here what several of them share."""

from training.protocol.recipe import CohortSource, Subset

PHANTOM_COHORTS = (
    CohortSource(name="aiforcovid", reader="aiforcovid", path="AIforCOVID"),
    CohortSource(name="brixia", reader="brixia", path="BRIXIA"),
)
PUBLIC_FOLDERS = ("data/real-cxr", "../shared/data/real-cxr")  # where a clone finds the public films (docs/public-data.md)


def public_films(part: str, **options: object) -> CohortSource:
    """The public films with an outcome (`part` "prognosis") or with a Brixia score ("severity")."""
    return CohortSource(name=part, reader="public_cxr", path=".", options={"part": part, **options})


PUBLIC_COHORTS = (public_films("prognosis"), public_films("severity"))
# AIforCOVID grew in three releases (paper, section 3.1); each subset is the data set as it stood after one of them.
RELEASES = (
    Subset(name="release-1", keep={"aiforcovid": {"release": ("1",)}}),
    Subset(name="release-1+2", keep={"aiforcovid": {"release": ("1", "2")}}),
    Subset(name="release-1+2+3", keep={"aiforcovid": {"release": ("1", "2", "3")}}),
)
FAMILIES = {
    "DenseNet": ("densenet121", "densenet161", "densenet169", "densenet201"),
    "EfficientNet": (
        "efficientnet_b0",
        "efficientnet_b1_pruned",
        "efficientnet_es",
        "efficientnet_es_pruned",
        "efficientnet_lite0",
    ),
    "GoogLeNet": ("googlenet",),
    "MobileNet": ("mobilenet_v2",),
    "ResNet": ("resnet18", "resnet34", "resnet50", "resnet101", "wide_resnet50_2"),
    "ShuffleNet": ("shufflenet_v2_x0_5", "shufflenet_v2_x1_0"),
}
EIGHTEEN = tuple(name for family in FAMILIES.values() for name in family)
