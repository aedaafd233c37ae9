"""Files of pretrained weights → tensors in their places. Only tensors are read: a pickle that holds code is refused, not run."""

import pickle
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from training.imagenet import WeightsRefused

Tensors = Mapping[str, Tensor]
# What torch.load raises on truncated, altered or foreign files, besides its refusal of code.
_UNREADABLE = (RuntimeError, EOFError, ValueError, TypeError, LookupError, AttributeError, AssertionError, OSError, struct.error)


def read(path: Path) -> dict[str, Tensor]:
    """A `.safetensors` file, or a torch checkpoint of any age, → {name: tensor}; a checkpoint's `state_dict` is unpacked."""
    if not path.is_file():
        raise WeightsRefused(f"{path.name} is not a file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsRefused(f"{path.name} holds more than tensors, or is no checkpoint: save its state_dict alone") from error
    except (*_UNREADABLE, SafetensorError) as error:
        raise WeightsRefused(
            f"{path.name} cannot be read as a checkpoint ({type(error).__name__}): truncated or damaged"
        ) from error
    if isinstance(stored, dict) and isinstance(stored.get("state_dict"), dict):
        stored = stored["state_dict"]
    if not isinstance(stored, dict) or not stored or not all(isinstance(value, Tensor) for value in stored.values()):
        raise WeightsRefused(f"{path.name} is no state_dict: a dictionary of names and tensors is needed")
    return dict(stored)


def place(name: str, module: nn.Module, tensors: Tensors, dropped: tuple[str, ...]) -> None:
    """Load by name, every tensor, no other; apart from those that begin with one of `dropped` (classifiers).

    Half precision is widened (that is how wide_resnet50_2 is published). `num_batches_tracked` may be missing: files from before
    torch 0.4.1 have none.
    """
    own = module.state_dict()
    given = {key: value for key, value in tensors.items() if not key.startswith(dropped)}
    needed = {key for key in own if not key.endswith("num_batches_tracked")}
    problems = [f"{key} is missing" for key in sorted(needed - given.keys())]
    problems += [f"{key} is not a tensor of this backbone" for key in sorted(given.keys() - own.keys())]
    for key in sorted(given.keys() & own.keys()):
        a, b = given[key], own[key]
        if a.shape != b.shape:
            problems.append(f"{key} has shape {tuple(a.shape)}, not {tuple(b.shape)}")
        elif a.is_floating_point() != b.is_floating_point():
            problems.append(f"{key} is {a.dtype}, not {b.dtype}")
        elif not torch.isfinite(a).all():
            problems.append(f"{key} has values that are not finite")
    if problems:
        raise WeightsRefused(f"these weights do not fit {name}: {len(problems)} problem(s), first: {'; '.join(problems[:3])}")
    module.load_state_dict(given, strict=False)
