"""Everything that can be set about the service, from `MDMT_…` environment variables."""

from pathlib import Path
from typing import Self

from pydantic import AliasChoices, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from cxr.reading import Limits

MIB = 1024 * 1024


class Settings(BaseSettings):
    """One field per setting; the variable is the field's name in capitals with `MDMT_` in front."""

    model_config = SettingsConfigDict(env_prefix="MDMT_", frozen=True, use_attribute_docstrings=True, populate_by_name=True)

    tracking_uri: str = Field(
        "http://localhost:5000", validation_alias=AliasChoices("tracking_uri", "MDMT_TRACKING_URI", "MLFLOW_TRACKING_URI")
    )
    """Where MLflow's registry answers; `MLFLOW_TRACKING_URI` counts too, `MDMT_TRACKING_URI` wins."""

    model_name: str = Field("mdmt", min_length=1)
    """Registered model whose bundle is served."""

    alias: str = Field("champion", min_length=1)
    """Alias that names the version to serve; resolved once per load, so that one process never mixes versions."""

    cache_dir: Path = Path.home() / ".cache" / "mdmt"
    """Downloaded bundles, one folder per version; each is verified again at every load."""

    retry_seconds: float = Field(5.0, gt=0)
    """Pause between two attempts to load while nothing is served; also what refused callers are told to wait."""

    max_bytes: int = Field(64 * MIB, ge=1024)
    """Largest file in bytes; enforced while the body is read, whatever Content-Length says."""

    max_pixels: int = Field(Limits().max_pixels, ge=1)
    """Largest film in pixels (width × height), judged from the header before anything is decoded."""

    threads: int = Field(1, ge=1)
    """ONNX Runtime threads of one prediction."""

    workers: int = Field(2, ge=1)
    """Predictions computed at the same time; workers × threads should not exceed the processor's cores."""

    queue: int = Field(30, ge=0)
    """Uploads that may be read or wait beside those being computed; more are answered 503 with Retry-After."""

    max_buffered_bytes: int = Field(256 * MIB, ge=1024)
    """Bytes of all uploads held in memory together; beyond it uploads are answered 503 with Retry-After."""

    body_idle_seconds: float = Field(10.0, gt=0)
    """Longest silence while a body is sent, then 408."""

    body_total_seconds: float = Field(60.0, gt=0)
    """Longest time a body may take as a whole, then 408."""

    drain_bytes: int = Field(256 * MIB, ge=0)
    """Bytes of a refused body that are read and thrown away, so that its sender sees the answer instead of a reset."""

    drain_seconds: float = Field(5.0, ge=0)
    """Time that a refused body is drained for."""

    @model_validator(mode="after")
    def _one_upload_fits(self) -> Self:
        if self.max_buffered_bytes < self.max_bytes:
            raise ValueError(
                f"max_buffered_bytes is {self.max_buffered_bytes}, max_bytes is {self.max_bytes}: "
                "raise max_buffered_bytes to at least max_bytes, or no upload of the allowed size is ever taken"
            )
        return self
