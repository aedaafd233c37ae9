"""Age groups of the AIforCOVID patients: an example of a third data set with a third task (docs/third-task.md).

The films and the tables are those of `aiforcovid`; the label is the column Age. A patient has the same key in both cohorts, so that
a joint split gives all rows of a person one role, and leaving a centre out leaves its patients out here too.
"""

from dataclasses import replace
from pathlib import Path

from cxr.tasks import age_group
from training.data.attributes import years
from training.data.cohort import Cohort, CohortError, checked
from training.data.cohorts import aiforcovid

NAME = "age-groups"


def load(root: Path, releases: tuple[int, ...] = (1, 2, 3)) -> Cohort:
    """Films with a known age: id, image, patient, centre and release as in `aiforcovid`, labels {"age": class of AGE}.

    A film whose Age cell is empty has no label and is no row. Raises CohortError as `aiforcovid` does, for ages that are no number
    of years in 0..120, and when no film has an age.
    """
    rows, problems = [], []
    for row in aiforcovid.load(root, releases).rows:
        if "age" not in row.attributes:
            continue
        try:
            group = age_group(years(row.attributes["age"]))
            rows.append(replace(row, labels={"age": group}, attributes={"release": row.attributes["release"]}))
        except ValueError as error:
            problems.append(f"{row.id}: {error}")
    if not rows and not problems:
        raise CohortError(NAME, [f"no film in {root} has an age; the column Age of the tables is missing or empty"])
    return checked(NAME, rows, problems)
