import os
from pathlib import Path

import pytest

from training.data.cohort import CohortError
from training.data.cohorts import public_cxr

REAL = Path(os.environ.get("MDMT_REAL_CXR", Path(__file__).parents[5] / "shared/data/real-cxr"))
needs_real_films = pytest.mark.skipif(
    not REAL.is_dir(), reason="the public radiographs are not here: set MDMT_REAL_CXR to their folder"
)

LABELS = "image,patient_id,centre,label,view,phase,confidence,note"
INDEX = "filename,patient_id,finding,view,note"
SCORES = "filename,S-A,S-B,S-C,S-D,S-E,S-F,S-Global,J-A,J-B,J-C,J-D,J-E,J-F,J-Global"


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(
        tmp_path / "public-prognosis/labels.csv",
        LABELS,
        "images/a.png,COHEN-1,ITALY,MILD,PA,not_in_icu,high,",
        'images/b.jpg,HANN-x,HANNOVER,SEVERE,AP,icu_or_intubated,medium,"tube, line"',
        "images/c.jpg,HANN-x,HANNOVER,SEVERE,,before_icu,high,",
    )
    touch(tmp_path / "public-prognosis/images", "a.png", "b.jpg", "c.jpg")
    write(
        tmp_path / "brixia-cohen/index.csv",
        INDEX,
        "a.png,COHEN-1,Pneumonia,PA,",
        "immagine 2.png,BRIXIA-IMMAGINE,,,",
        "0.jpg,BRESCIA-1,,,",
    )
    write(
        tmp_path / "brixia-cohen/public-annotations.csv",
        SCORES,
        "immagine 2.png,3,3,3,3,3,3,18,2,2,2,2,2,2,12",
        "a.png,0,1,0,0,0,0,1,0,2,1,0,0,2,5",
        "0.jpg,1,1,1,1,1,1,6,0,0,0,0,0,0,0",
    )
    touch(tmp_path / "brixia-cohen/images", "a.png", "immagine 2.png", "0.jpg")
    return tmp_path


def problems(root: Path, part: str, **options: object) -> str:
    with pytest.raises(CohortError) as caught:
        public_cxr.load(root, part, **options)
    return "\n".join(caught.value.problems)


def test_prognosis_films_keep_patient_centre_and_what_confounds_them(root: Path) -> None:
    cohort = public_cxr.load(root, "prognosis")
    assert cohort.name == "public-prognosis"
    assert [(row.id, row.patient, row.centre, row.labels["prognosis"]) for row in cohort.rows] == [
        ("a.png", "COHEN-1", "ITALY", 0),
        ("b.jpg", "HANN-x", "HANNOVER", 1),
        ("c.jpg", "HANN-x", "HANNOVER", 1),
    ]
    assert cohort.rows[0].attributes == {"view": "PA", "phase": "not_in_icu", "confidence": "high"}
    assert "view" not in cohort.rows[2].attributes


def test_severity_films_are_scored_by_the_reader_asked_for(root: Path) -> None:
    senior, junior = public_cxr.load(root, "severity"), public_cxr.load(root, "severity", reader="J")
    assert senior.name == "public-severity"
    assert {row.id: row.labels["severity"] for row in senior.rows} == {"0.jpg": 1, "a.png": 0, "immagine 2.png": 3}
    assert {row.id: row.labels["severity"] for row in junior.rows} == {"0.jpg": 0, "a.png": 1, "immagine 2.png": 2}
    assert [row.centre for row in senior.rows] == ["BRESCIA", "COHEN", "BRESCIA"]
    assert senior.rows[1].attributes == {
        "view": "PA",
        "finding": "Pneumonia",
        "zones": "010000",
        "global": "1",
        "second": "021002",
    }
    own, second = ({f"zone-{zone}{end}": int(score) for zone, score in zip("abcdef", scores, strict=True)}
                   for end, scores in (("", "010000"), ("-second", "021002")))  # fmt: skip
    assert senior.rows[1].further == {**own, **second, "global": 1, "severity-second": 1}


def test_sex_and_a_band_of_age_are_told_and_no_age(root: Path) -> None:
    write(root / "public-prognosis/labels.csv", f"{LABELS},age,sex", "images/a.png,COHEN-1,ITALY,MILD,PA,not_in_icu,high,,67,F",
          "images/b.jpg,HANN-x,HANNOVER,SEVERE,AP,unknown,high,,,M")  # fmt: skip
    first, second = public_cxr.load(root, "prognosis").rows
    assert first.attributes == {"view": "PA", "phase": "not_in_icu", "confidence": "high", "sex": "F", "age_group": "65-79"}
    assert second.attributes == {"view": "AP", "phase": "unknown", "confidence": "high", "sex": "M"}
    write(root / "brixia-cohen/index.csv", f"{INDEX},age,sex", "a.png,COHEN-1,,PA,,80,M", "immagine 2.png,BRIXIA-1,,,,,",
          "0.jpg,BRESCIA-1,,,,,")  # fmt: skip
    told = {row.id: row.attributes.get("age_group") for row in public_cxr.load(root, "severity").rows}
    assert told == {"a.png": "80-and-over", "immagine 2.png": None, "0.jpg": None}


def test_an_age_that_is_none_is_listed_with_its_row(root: Path) -> None:
    write(root / "public-prognosis/labels.csv", f"{LABELS},age", "images/a.png,COHEN-1,ITALY,MILD,PA,not_in_icu,high,,170")
    assert "labels.csv row 2: Age '170' is no number of years; allowed: 0 to 120" in problems(root, "prognosis")


def test_the_same_person_has_the_same_key_in_both_parts(root: Path) -> None:
    both = [{row.patient for row in public_cxr.load(root, part).rows} for part in public_cxr.PARTS]
    assert both[0] & both[1] == {"COHEN-1"}


def test_films_can_be_limited_to_phases_in_which_the_outcome_lies_ahead(root: Path) -> None:
    cohort = public_cxr.load(root, "prognosis", phases=("before_icu", "not_in_icu"))
    assert [row.id for row in cohort.rows] == ["a.png", "c.jpg"]


def test_options_that_do_not_exist_are_listed_together(root: Path) -> None:
    assert "part='age'; allowed: prognosis, severity" in problems(root, "age")
    listed = problems(root, "severity", phases=("icu",), reader="X")
    assert "reader='X'; allowed: S (senior), J (junior)" in listed
    assert "phases has 'icu'; allowed: before_icu" in listed
    assert "phases is an option of part='prognosis'" in listed


def test_every_bad_label_row_is_listed_with_its_number(root: Path) -> None:
    write(
        root / "public-prognosis/labels.csv",
        LABELS,
        "images/a.png,COHEN-1,ITALY,WORSE,PA,not_in_icu,high,",
        "images/b.jpg,,HANNOVER,SEVERE,AP,unknown,high,",
        "images/c.jpg,HANN-x,HANNOVER,SEVERE,AP,later,high,",
        "images/d.jpg,HANN-x,HANNOVER,SEVERE,AP,unknown,high,",
    )
    listed = problems(root, "prognosis")
    assert "labels.csv row 2: 'WORSE' is no label of task 'prognosis'" in listed
    assert "labels.csv row 3: patient_id is empty" in listed
    assert "labels.csv row 4: phase is 'later'; allowed: before_icu" in listed
    assert "d.jpg: image file d.jpg is not in" in listed


def test_index_and_annotations_must_name_the_same_films(root: Path) -> None:
    write(
        root / "brixia-cohen/index.csv",
        INDEX,
        "a.png,COHEN-1,,PA,",
        "a.png,COHEN-1,,PA,",
        "z.png,COHEN-2,,,",
        "0.jpg,BRESCIA-1,,,",
    )
    listed = problems(root, "severity")
    assert "index.csv: z.png has no row in public-annotations.csv" in listed
    assert "public-annotations.csv: immagine 2.png has no row in index.csv" in listed
    assert "index.csv: a.png is listed 2 times" in listed


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ("1,1,1,1,1,1,7", "the global score is '7' and the zones sum to 6"),
        ("1,1,1,1,1,4,9", "is not six digits of 0..3"),
        ("1,1,,1,1,1,5", "allowed: one digit of 0..3 per zone"),
    ],
)
def test_scores_that_cannot_be_are_listed(root: Path, scores: str, message: str) -> None:
    write(root / "brixia-cohen/index.csv", INDEX, "a.png,COHEN-1,,PA,")
    write(root / "brixia-cohen/public-annotations.csv", SCORES, f"a.png,{scores},0,0,0,0,0,0,0")
    assert problems(root, "severity").startswith("public-annotations.csv row 2: ")
    assert message in problems(root, "severity")


def test_a_patient_key_that_tells_no_centre_is_listed(root: Path) -> None:
    write(root / "brixia-cohen/index.csv", INDEX, "a.png,ROME-1,,PA,")
    assert "patient_id 'ROME-1' tells no centre; allowed beginnings: COHEN, BRESCIA, BRIXIA" in problems(root, "severity")


@needs_real_films
def test_the_real_public_films_load_and_share_patients_between_the_parts() -> None:
    prognosis, severity = public_cxr.load(REAL, "prognosis"), public_cxr.load(REAL, "severity")
    assert min(prognosis.counts()["prognosis"].values()) > 20
    assert min(severity.counts()["severity"].values()) >= 5
    assert set(severity.counts()["centre"]) == {"COHEN", "BRESCIA"}
    assert {row.patient for row in prognosis.rows} & {row.patient for row in severity.rows}


def test_shuffled_outcomes_stay_with_their_patients_and_are_dealt_the_same_way_each_time(root: Path) -> None:
    write(
        root / "public-prognosis/labels.csv",
        LABELS,
        *(
            f"images/{i:02}{side}.png,P-{i:02},ITALY,{'MILD' if i % 2 else 'SEVERE'},PA,not_in_icu,high,"
            for i in range(20)
            for side in "ab"
        ),
    )
    touch(root / "public-prognosis/images", *(f"{i:02}{side}.png" for i in range(20) for side in "ab"))
    plain, dealt = (public_cxr.load(root, "prognosis", shuffled=shuffled).rows for shuffled in (False, True))
    assert [row.id for row in plain] == [row.id for row in dealt] and [r.labels for r in plain] != [r.labels for r in dealt]
    assert all(a.labels == b.labels for a, b in zip(dealt[::2], dealt[1::2], strict=True))
    assert sum(row.labels["prognosis"] for row in dealt) == sum(row.labels["prognosis"] for row in plain)
    assert dealt == public_cxr.load(root, "prognosis", shuffled=True).rows


def test_shuffling_is_refused_where_there_is_no_outcome(root: Path) -> None:
    assert "shuffled" in problems(root, "severity", shuffled=True)
