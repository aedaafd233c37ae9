"""The shipped recipes, one file each with `recipe() -> Recipe`; here what those on generated films share."""

from training.protocol.recipe import CohortSource

PHANTOM_COHORTS = (
    CohortSource(name="aiforcovid", reader="aiforcovid", path="AIforCOVID"),
    CohortSource(name="brixia", reader="brixia", path="BRIXIA"),
)
