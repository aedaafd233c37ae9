"""Whatever a film says of its patient stays in the request: sixty canaries, and none in answers, logs, metrics or on disk."""

import base64
import io
import json
import logging
import re
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pydicom
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import generate_uid
from typer.testing import CliRunner

from serving.audit import Audit, Chains
from serving.commands import audit as check
from serving.representations import REPORT
from serving.settings import Settings
from tests.cxr.dicoms import dicom
from tests.serving.conftest import service
from tests.serving.test_under_load import process
from tests.serving.tiny_bundle import encoded, film, loader

CANARY = "CANARYQZ"
TAGS = """
PatientName PatientID IssuerOfPatientID OtherPatientIDs OtherPatientNames PatientBirthName PatientMotherBirthName
PatientAddress PatientTelephoneNumbers PatientComments MilitaryRank BranchOfService EthnicGroup Occupation
AdditionalPatientHistory PatientReligiousPreference CountryOfResidence RegionOfResidence MedicalRecordLocator Allergies
MedicalAlerts SpecialNeeds PatientState PatientInsurancePlanCodeSequence AccessionNumber StudyID StudyDescription
SeriesDescription ProtocolName InstitutionName InstitutionAddress InstitutionalDepartmentName ReferringPhysicianName
ReferringPhysicianAddress ReferringPhysicianTelephoneNumbers PerformingPhysicianName OperatorsName
NameOfPhysiciansReadingStudy PhysiciansOfRecord RequestingPhysician RequestingService RequestedProcedureDescription
RequestedProcedureID PerformedProcedureStepDescription PerformedProcedureStepID ScheduledProcedureStepDescription
StationName DeviceSerialNumber PlateID CassetteID DetectorID ImageComments AcquisitionComments AdmissionID
IssuerOfAdmissionID AdmittingDiagnosesDescription CurrentPatientLocation PatientInstitutionResidence VisitComments
ResponsiblePerson ResponsibleOrganization DerivationDescription ContentCreatorName TextComments InterpretationText
""".split()  # noqa: SIM905 - a list is read worse


def canary(number: int) -> str:
    return f"{CANARY}{number:03d}"


def film_with_canaries() -> tuple[bytes, int]:
    """A DICOM film with a canary in every tag, in a nested sequence, in private tags and in the preamble; and how many."""
    content = dicom(film(size=160))
    dataset = pydicom.dcmread(io.BytesIO(content))
    planted = 0
    for keyword in TAGS:
        tag = tag_for_keyword(keyword)
        assert tag is not None, keyword
        kind = dictionary_VR(tag)
        planted += 1
        if kind == "SQ":
            inner = Dataset()
            inner.CodeValue, inner.CodeMeaning, inner.CodingSchemeDesignator = canary(planted), canary(planted), "99X"
            setattr(dataset, keyword, [inner])
        else:
            setattr(dataset, keyword, canary(planted))
    private = dataset.private_block(0x0011, canary(900), create=True)
    private.add_new(0x01, "LO", canary(901))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.preamble = canary(902).encode().ljust(128, b"\0")
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue(), planted


# What pydicom and highdicom warn of, with the value in the warning.
WARNED_OF = {
    "PatientName": f"{CANARY}NAME",  # a family name alone
    "SpecificCharacterSet": f"{CANARY}_SET",
    "PatientAge": f"{CANARY}AGE",
    "StudyDate": f"{CANARY}DATE",
    "BodyPartExamined": f"{CANARY} in small letters",
    "NumberOfFrames": f"{CANARY}FRAMES",
    "WindowCenter": f"{CANARY}WINDOW",
}


def film_with(keyword: str, value: str) -> bytes:
    """A DICOM film of a study with a tag of that value, whatever the standard says of it."""
    dataset = pydicom.dcmread(io.BytesIO(dicom(film(size=160))))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    tag, raw = Tag(keyword), value.encode().ljust(32)
    dataset._dict[tag] = RawDataElement(tag, dictionary_VR(tag), len(raw), raw, 0, False, True)
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def files_below(*folders: Path) -> set[Path]:
    return {path for folder in folders if folder.exists() for path in folder.rglob("*") if path.is_file()}


def test_no_canary_leaves_the_request(
    bundle_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    data, planted = film_with_canaries()
    assert planted >= 60 and data.count(CANARY.encode()) >= planted
    home = tmp_path / "everything-that-could-be-written"
    home.mkdir()
    monkeypatch.setenv("TMPDIR", str(home))
    monkeypatch.setattr("tempfile.tempdir", None)
    with caplog.at_level(logging.DEBUG), service(loader(bundle_folder), cache_dir=home / "cache") as client:
        before = set(Path("/proc/self/fd").iterdir())
        name = f"{CANARY}.dcm"
        tensor = {"name": "film", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(data).decode()]}
        # The report names the patient, as the film does whose answer it is: what is asked of it is that nothing else does.
        report = client.post(
            "/predict", content=data, headers={"content-type": "application/dicom", "accept": "application/dicom"}
        )
        assert report.status_code == 200 and CANARY.encode() in report.content
        assert CANARY not in str(report.headers)
        sent = [
            client.post("/predict", content=data, headers={"content-type": "application/dicom"}),
            client.post("/predict", files={"file": (name, data, "application/dicom")}),
            client.post("/predict", content=data[: len(data) // 2], headers={"content-type": "application/dicom"}),
            client.post(
                "/predict",
                content=data.replace(b"MONOCHROME2", CANARY.encode() + b"XXX"),
                headers={"content-type": "application/dicom"},
            ),
            client.post("/predict?explain=true", content=data, headers={"content-type": "application/dicom"}),
            client.post("/predict", content=data, headers={"content-type": "application/dicom", "accept": "image/png"}),
            client.post("/predict/batch", files=[("file", (name, data)), ("file", (name, data[:-9]))]),
            client.post("/v2/models/mdmt/infer", json={"id": "1", "inputs": [tensor]}),
            client.post(f"/{CANARY}", content=data, headers={"X-Request-ID": f"{CANARY} with spaces"}),
            client.get(f"/v2/models/{CANARY}?{CANARY}=1"),
        ]
        assert [answer.status_code for answer in sent[:2] + sent[4:8]] == [200] * 6
        assert all(answer.status_code >= 400 for answer in sent[2:4] + sent[8:])
        pages = [client.get(path).text for path in ("/metrics", "/model", "/readyz", "/openapi.json")]
        assert len(set(Path("/proc/self/fd").iterdir()) - before) <= 2
        for answer in sent:
            assert CANARY.encode() not in answer.content + str(answer.headers).encode()
        assert not any(CANARY in page for page in pages)
    ours = [
        record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))
    ]  # the client's own, of the test
    assert ours and not any(CANARY in record.getMessage() + str(record.exc_text) for record in ours)
    captured = capfd.readouterr()
    assert CANARY not in captured.out + captured.err
    assert not any(CANARY.encode() in path.read_bytes() for path in files_below(home))
    assert files_below(home) == set()


def test_no_warning_of_a_reader_brings_a_value_into_the_log_of_the_service(bundle_folder: Path) -> None:
    with process(bundle_folder, subprocess.PIPE) as (running, address):
        for keyword, value in WARNED_OF.items():
            data = film_with(keyword, value)
            for wanted in ("application/json", REPORT):
                asked = Request(f"http://{address[0]}:{address[1]}/predict", data, {"Content-Type": REPORT, "Accept": wanted})
                with suppress(HTTPError), urlopen(asked) as answer:
                    assert answer.status == 200
        running.send_signal(signal.SIGTERM)
        _, log = running.communicate(timeout=20)
    assert CANARY not in log
    places = set(re.findall(r"/(pydicom/\w+|highdicom/\w+)\.py:\d+: UserWarning", log))
    assert {"pydicom/charset", "pydicom/valuerep", "highdicom/base"} <= places


def broken(lines: list[str], secret: str) -> list[str]:
    return Chains(lines, secret).wrong


def audited(bundle_folder: Path, caplog: pytest.LogCaptureFixture, films: int, **settings: object) -> list[str]:
    with caplog.at_level(logging.INFO), service(loader(bundle_folder), **settings) as client:
        for seed in range(films):
            assert (
                client.post("/predict", content=encoded(film(seed=seed)), headers={"content-type": "image/png"}).status_code
                == 200
            )
    return [record.getMessage() for record in caplog.records if record.name == "serving.audit"]


def audit_says(log: Path, lines: Sequence[str], *options: str) -> tuple[int, str]:
    """Exit code and words of `mdmt audit` on a log of these lines."""
    log.write_text("\n".join(lines))
    app = typer.Typer()
    app.command()(check)
    done = CliRunner().invoke(app, [str(log), *options])
    return done.exit_code, done.stdout


def test_each_answer_leaves_one_line_that_says_who_what_and_by_which_version(
    bundle_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [json.loads(text) for text in audited(bundle_folder, caplog, 2)]
    assert [(line["audit"], line.get("ended")) for line in lines] == [(0, None), (1, None), (2, True)]
    assert lines[0]["version"] == "7"
    assert len(lines[0]["digest"]) == 64
    assert set(lines[0]["answers"]) == {"prognosis", "severity"}
    assert lines[0]["film"] != lines[1]["film"]
    assert lines[0]["time"].endswith("+00:00")


def test_a_line_that_is_gone_altered_moved_or_forged_is_noticed(bundle_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = "of the hospital"
    lines = audited(bundle_folder, caplog, 4, audit_key=secret)
    assert list(broken(["INFO serving: something else", *lines], secret)) == []
    assert list(broken(lines, "another")) != []
    assert list(broken([lines[0], *lines[2:]], secret)) != []
    assert list(broken([lines[0], lines[2], lines[1], lines[3]], secret)) != []
    assert list(broken([lines[0], lines[1].replace('"version": "7"', '"version": "8"'), *lines[2:]], secret)) != []
    forged = json.loads(lines[1]) | {"version": "8"}
    assert list(broken([lines[0], json.dumps(forged), *lines[2:]], secret)) != []


def test_lines_cut_off_at_the_end_are_noticed_by_the_end_that_is_not_said(
    bundle_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "of the hospital"
    monkeypatch.setenv("MDMT_AUDIT_KEY", secret)
    lines = audited(bundle_folder, caplog, 3, audit_key=secret)

    def said(*given: str) -> tuple[int, str]:
        return audit_says(tmp_path / "log", given)

    assert said(*lines) == (0, "whole: 4 entries\n")
    code, text = said(*lines[:-1])
    assert code == 0 and "up to entry 2 of the last service, which did not say its end" in text
    code, text = said(*lines[:-2], *lines)  # the next run follows: its predecessor must have ended
    assert code == 1 and "did not say its end after entry 1" in text
    for cut in (12, len(lines[-1]) // 2, len(lines[-1]) - 1):
        code, text = said(*lines[:-1], lines[-1][:cut])
        assert code == 1 and "line 4: an entry that cannot be read" in text
    assert said("INFO serving: nothing") == (1, "no entry of an audit log in it\n")


def test_the_lines_of_a_film_are_found_by_whoever_has_it_and_the_secret(
    bundle_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MDMT_AUDIT_KEY", "of the hospital")
    lines = audited(bundle_folder, caplog, 3, audit_key="of the hospital")
    (tmp_path / "sent.png").write_bytes(encoded(film(seed=1)))
    (tmp_path / "other.png").write_bytes(encoded(film(seed=3)))
    found = audit_says(tmp_path / "log", lines, "--film", str(tmp_path / "sent.png"))
    assert found == (0, f"{lines[1]}\nwhole: 4 entries\n")
    none = audit_says(tmp_path / "log", lines, "--film", str(tmp_path / "other.png"))
    assert none == (0, "no entry of other.png\nwhole: 4 entries\n")


@given(content=st.binary(max_size=200), bit=st.integers(0), more=st.binary(min_size=1, max_size=20))
def test_a_film_has_one_name_and_shares_it_with_no_other(content: bytes, bit: int, more: bytes) -> None:
    audit = Audit("s")
    name = audit.film(content)
    others = [content + more, more + content] + ([_with_another_bit(content, bit)] if content else [])
    assert re.fullmatch("[0-9a-f]{32}", name)
    assert name == Audit("s").film(content) != Audit("t").film(content)
    assert name not in [audit.film(other) for other in others if other != content]


def _with_another_bit(content: bytes, bit: int) -> bytes:
    bit %= 8 * len(content)
    return (int.from_bytes(content) ^ 1 << bit).to_bytes(len(content))


def test_the_secret_may_lie_in_a_file(bundle_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "key").write_text("of the hospital\n")
    lines = audited(bundle_folder, caplog, 1, audit_key_file=tmp_path / "key")
    assert list(broken(lines, "of the hospital")) == []


def test_two_runs_of_a_service_are_two_chains() -> None:
    secret = "s"
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("serving.audit")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        for _ in range(2):
            audit = Audit(secret)
            audit.record(a=1)
            audit.record(a=2)
            audit.close()
    finally:
        logger.removeHandler(handler)
    assert list(broken(messages, secret)) == []
    assert "of the hospital" not in repr(Settings(audit_key="of the hospital"))
