"""Everything that can be set about the service, from `MDMT_…` environment variables."""

from pathlib import Path
from typing import Literal, Self

from pydantic import AliasChoices, Field, SecretStr, model_validator

from cxr.environment import FromEnvironment
from cxr.graphs import EngineName
from cxr.host import cores
from cxr.reading import Limits
from serving.keys import KeyFileError

MIB = 1024 * 1024


class Settings(FromEnvironment):
    """One field per setting, as `FromEnvironment` reads it."""

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

    poll_seconds: float = Field(30.0, gt=0)
    """Pause between two looks at where the alias points, give or take a fifth."""

    trusted_keys: str = ""
    """Public keys, with commas between: only versions that one of them signed are served. Empty: signatures are not asked for."""

    max_bundle_memory: int = Field(2048 * MIB, ge=64 * MIB)
    """Bytes of memory that a version may take in its first run."""

    trial_seconds: float = Field(120.0, gt=0)
    """Longest time that a version's first run may take."""

    slowest_seconds: float = Field(2.0, gt=0)
    """Slowest that a version may answer its golden film, alone on this machine."""

    slowest_factor: float = Field(8.0, ge=1)
    """Slowest that a version may be, as a multiple of the one that is served; answers within a quarter of a second always pass."""

    keys_file: Path | None = None
    """API keys, as `mdmt keys new` writes them; without it everybody who reaches the port is answered."""

    published_on: str = ""
    """Address under which others reach the port, where it is not the one the service binds: a container's published port. Without API
    keys only a loopback address is allowed."""

    hosts: str = ""
    """Names that the service is asked under, without ports and with commas between, such as `mdmt.example.org`. Without API keys any
    other name than loopback's is refused (421); with keys, once this is set."""

    rate: float = Field(50.0, gt=0)
    """Requests per second of one API key in the long run, a request of several films counted as so many; twice as many may come at once.
    More are answered 429 with Retry-After."""

    audit_key: SecretStr = SecretStr("")
    """Secret that chains the audit log and names films in it; empty: a new one for every process."""

    audit_key_file: Path | None = None
    """File that holds this secret, where a variable could be seen: in `docker inspect`."""

    uploads: int = Field(512, ge=2)
    """Requests that may be inside at once, whether their films are being read, waiting or computed; half of it for one client."""

    farewell_seconds: float = Field(1.0, ge=0)
    """After SIGTERM: how long new requests are still answered while `/readyz` says 503, for balancers to notice."""

    max_bytes: int = Field(64 * MIB, ge=1024)
    """Largest file in bytes; enforced while the body is read, whatever Content-Length says."""

    batch_films: int = Field(16, ge=1)
    """Most films in one request to `/predict/batch` or `/v2`."""

    batch_bytes: int = Field(128 * MIB, ge=1024)
    """Most bytes of the films of one such request together."""

    max_pixels: int = Field(Limits().max_pixels, ge=1)
    """Largest film in pixels (width × height), judged from the header before anything is decoded."""

    files_per_decoder: int = Field(32, ge=0)
    """PNG and JPEG files that one process decodes, without files, connections or much memory, before it is thrown away: a flaw in a decoder
    gives no more away than that process. 1: each in its own, for milliseconds more. 0: in the service, for a few less."""

    engine: Literal["auto", EngineName] = "auto"
    """What computes the graphs; "auto": whichever of the installed ones answers most golden films per second on this host, and rightly."""

    precision: Literal["auto", "float32"] = "auto"
    """What lungs are looked for in first. "auto": a lower one where the version carries a proof that it answers as float32 does, and
    where it is faster here; "float32": never. Close calls and the network are computed in float32 in any case."""

    workers: int = Field(default_factory=lambda: cores() + 1, ge=1)
    """Predictions under way at the same time; default: one more than this host has cores, for while one waits for its decoding process
    a core would have nothing to do: 8 % more films per second, for 20 MB."""

    threads: int = Field(1, ge=1)
    """Threads of each prediction while there are several; with more than one, set fewer workers."""

    alone: int = Field(default_factory=cores, ge=1)
    """Threads of a prediction that is the only one; default: the cores of this host. Equal to `threads`, it saves memory."""

    queue: int = Field(30, ge=0)
    """Predictions that may wait beside those being computed; more are answered 503 with Retry-After."""

    max_buffered_bytes: int = Field(256 * MIB, ge=1024)
    """Bytes of all uploads held in memory together; beyond it uploads are answered 503 with Retry-After."""

    body_idle_seconds: float = Field(10.0, gt=0)
    """Longest silence while a body is sent, then 408."""

    body_total_seconds: float = Field(60.0, gt=0)
    """Longest time a body may take as a whole, then 408."""

    drain_bytes: int = Field(64 * MIB, ge=0)
    """Bytes of a refused body that are read in all, after its refusal only to be thrown away: its sender is to see the answer instead of
    a reset."""

    drain_seconds: float = Field(5.0, ge=0)
    """Time that a refused body is drained for."""

    @property
    def trusted(self) -> tuple[str, ...]:
        """The public keys of `trusted_keys`."""
        return tuple(key.strip() for key in self.trusted_keys.split(",") if key.strip())

    @property
    def audit_secret(self) -> str:
        """The content of `audit_key_file`, or else `audit_key`. Raises KeyFileError for a file that cannot be read or has none."""
        if self.audit_key_file is None:
            return self.audit_key.get_secret_value()
        try:
            secret = self.audit_key_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise KeyFileError(f"the file of MDMT_AUDIT_KEY_FILE cannot be read ({type(error).__name__})") from error
        if not secret:  # else the log would be chained with a secret that nobody knows
            raise KeyFileError("the file of MDMT_AUDIT_KEY_FILE is empty: write a secret into it, or unset the variable")
        return secret

    @property
    def names(self) -> tuple[str, ...]:
        """The names of `hosts`, in small letters."""
        return tuple(name.strip().lower() for name in self.hosts.split(",") if name.strip())

    @property
    def limits(self) -> Limits:
        """The bounds of one film."""
        return Limits(max_bytes=self.max_bytes, max_pixels=self.max_pixels, files_per_decoder=self.files_per_decoder)

    @model_validator(mode="after")
    def _somebody_is_trusted(self) -> Self:
        if self.trusted_keys.strip() and not self.trusted:
            raise ValueError(
                f"trusted_keys is {self.trusted_keys!r}, which names no key: set it to public keys with commas between, or leave it unset "
                "so that signatures are not asked for"
            )
        return self

    @model_validator(mode="after")
    def _one_upload_fits(self) -> Self:
        if self.max_buffered_bytes < self.max_bytes:
            raise ValueError(
                f"max_buffered_bytes is {self.max_buffered_bytes}, max_bytes is {self.max_bytes}: "
                "raise max_buffered_bytes to at least max_bytes, or no upload of the allowed size is ever taken"
            )
        return self
