"""Ray Serve with its default settings."""

import signal
import sys
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.serving.peers.pipeline import Predictor


@serve.deployment
class Films:
    """One film, one answer."""

    def __init__(self) -> None:
        self.predictor = Predictor()

    async def __call__(self, request: Request) -> dict[str, Any]:
        return self.predictor.predict(await request.body())


if __name__ == "__main__":
    ray.init(include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"port": int(sys.argv[1])})
    serve.run(Films.bind(), route_prefix="/predict")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
