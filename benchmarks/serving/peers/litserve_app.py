"""LitServe with its default settings."""

import base64
import sys
from typing import Any

import litserve

from benchmarks.serving.peers.pipeline import Predictor


class Api(litserve.LitAPI):
    """Base64 in JSON, as its documentation sends pictures."""

    def setup(self, device: str) -> None:
        self.predictor = Predictor()

    def decode_request(self, request: dict[str, str]) -> bytes:
        return base64.b64decode(request["data"])

    def predict(self, data: bytes) -> dict[str, Any]:
        return self.predictor.predict(data)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    litserve.LitServer(Api(), accelerator="cpu").run(port=int(sys.argv[1]), host="127.0.0.1", generate_client_file=False)
