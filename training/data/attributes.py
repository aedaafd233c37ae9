"""What a film can be grouped by: centre, view, sex, age group, phase of the disease, as far as its data set tells them.

Ages go no further than here: a report shows bands, never an age.
"""

import re

from cxr.tasks import AGE, age_group
from training.data.cohort import Row

AS_TOLD = ("view", "sex", "phase")  # attributes that are shown as the data set spells them
AGE_BAND = "age_group"  # attribute of a row: one of AGE.classes
UNREADABLE = "no number of years"
_YEARS = re.compile(r"(\d{1,3})(\.\d+)?")  # some tables count months as a fraction


def years(text: str) -> int:
    """Completed years of age as a table tells them. Raises ValueError for what is no number of years in 0..120."""
    match = _YEARS.fullmatch(text)
    if match is None or int(match[1]) > 120:
        raise ValueError(f"Age {text!r} is no number of years; allowed: 0 to 120")
    return int(match[1])


def age_band(text: str) -> str:
    """Years of age as a table tells them → one of AGE.classes. Raises ValueError as `years` does."""
    return AGE.classes[age_group(years(text))]


def groups_of(row: Row) -> dict[str, str]:
    """Name of a grouping → the group that the film is in; groupings that the data set does not tell are left out.

    Ages are read from the attributes `age_group` (a band), `age` (years) or `agebin` (number of a band of five years, 13 is 65 to 69);
    a cell that tells none of these is a group of its own.
    """
    groups = {"centre": row.centre} | {name: row.attributes[name] for name in AS_TOLD if row.attributes.get(name)}
    if band := _band(row):
        groups["age group"] = band
    return groups


def _band(row: Row) -> str | None:
    told = row.attributes
    try:
        if AGE_BAND in told:
            return told[AGE_BAND]
        if "age" in told:
            return age_band(told["age"])
        if "agebin" in told:
            return age_band(str(5 * years(told["agebin"])))
    except ValueError:
        return UNREADABLE
    return None
