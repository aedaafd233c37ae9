"""The usual pipeline: Pillow or pydicom, a floating-point window, a U-Net in eager torch, one film at a time, a PNG."""

import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import torch
from PIL import Image

from benchmarks.clock import Spent, now, since
from training.learning.segmenter import LungNetwork
from training.settings import SegmenterSettings

SIDES = (1024, 256)  # of the PNG: as the authors stored them, and as the product does


@torch.inference_mode()
def prepare(files: list[Path], folder: Path, side: int) -> Spent:
    """What all of them took. The network is of the product's shape and untrained, so a fixed mask is cropped to."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = LungNetwork(SegmenterSettings().channels, ("lungs",)).eval()
    mask = np.zeros((256, 256), bool)
    mask[40:220, 30:226] = True
    network(torch.zeros(1, 1, 256, 256))
    begun = now()
    for file in files:
        if file.suffix == ".dcm":
            pixels = pydicom.dcmread(BytesIO(file.read_bytes())).pixel_array.astype(np.float64)
        else:
            pixels = np.asarray(Image.open(file).convert("L")).astype(np.float64)
        low, high = np.percentile(pixels, (1, 99))
        gray = (np.clip((pixels - low) / (high - low), 0, 1) * 255).astype(np.uint8)
        small = np.asarray(Image.fromarray(gray).resize((256, 256)), dtype=np.float32) / 255
        torch.sigmoid(network(torch.from_numpy(small)[None, None]))
        lungs = np.asarray(Image.fromarray(mask).resize(gray.shape[::-1]))
        rows, columns = np.where(lungs)
        cut = gray[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        Image.fromarray(cut).resize((side, side)).save(folder / f"{file.name}.png")
    return since(begun)


if __name__ == "__main__":
    taken = prepare([Path(name) for name in sys.argv[3:]], Path(sys.argv[1]), int(sys.argv[2]))
    sys.stdout.write(f"{taken.cpu} {taken.wall}\n")
