"""No text of a warning is written, and no line of a reader's logger: a patient's name may be in it."""

import subprocess
import sys

# The order in which a process that reads films does it: the readers are imported late.
PROCESS = """
import logging, warnings
from cxr.log_privacy import withhold_texts
withhold_texts()
logging.basicConfig(level=logging.DEBUG)
{captured}
import highdicom.valuerep, pydicom.charset, pydicom.config
pydicom.config.debug({debug}, default_handler=False)
pydicom.charset.convert_encodings("CANARY_CHARSET")
highdicom.valuerep.check_person_name("CANARYNAME")
warnings.warn("CANARY")
for name in ("pydicom", "pydicom.pixels.decoders.base", "highdicom.base"):
    logging.getLogger(name).critical("CANARY")
"""


def test_warnings_are_written_by_class_and_place_and_readers_log_nothing() -> None:
    for captured in ("", "logging.captureWarnings(True)"):
        for debug in (False, True):
            script = PROCESS.format(captured=captured, debug=debug)
            said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
            assert "CANARY" not in said.stderr + said.stdout
            assert said.stderr.count("UserWarning (its text is withheld") == 3
            assert "pydicom/charset.py:" in said.stderr
