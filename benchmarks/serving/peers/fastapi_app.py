"""FastAPI and torch, as the tutorials do it."""

import sys

import uvicorn
from fastapi import FastAPI, UploadFile

from benchmarks.serving.peers.pipeline import Predictor

app, predictor = FastAPI(), Predictor()


@app.post("/predict")
def predict(file: UploadFile) -> dict[str, object]:
    return predictor.predict(file.file.read())


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
