"""What schemathesis is told (SCHEMATHESIS_HOOKS): a body that is a file is a film in one of its encodings as often as it is any bytes."""

import schemathesis
from hypothesis import strategies as st

from tests.cxr.encodings import lossless, lossy
from tests.serving.tiny_bundle import film

PICTURE = film(seed=4, size=80)
FILMS = [build() for build in {**lossless(PICTURE), **lossy(PICTURE)}.values()]

schemathesis.openapi.format("binary", st.sampled_from(FILMS) | st.binary())
