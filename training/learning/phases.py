"""The U-Net as it is exported: the same function, in a form that engines compute faster.

Its last stage is computed at half its resolution, four pixels of the mask as four channels: at full resolution that stage has one or two
channels, which engines pad to sixteen, and took a third of the U-Net's time in float32 and more than half in bfloat16, for a hundredth of
its arithmetic. `PixelShuffle(2)` lays the four channels out again. And where a PReLU has one slope for all channels it is a leaky ReLU:
ONNX Runtime computes that within the convolution before it, which saves three tenths of its time and changes no bit.
"""

import copy

import torch
from monai.networks.nets.unet import UNet
from torch import Tensor, nn

# Output pixel 2j + phase of a transposed convolution (kernel 3, stride 2, padding 1, output padding 1) along one axis: which input pixel
# (offset from j) it sees through which weight of the kernel.
_SEEN = {0: ((0, 1),), 1: ((0, 2), (1, 0))}


class Phases(nn.Module):
    """A U-Net in evaluation mode and one of its channels → (N, 4, S/2, S/2), channel 2a + b the pixels at rows 2y + a, columns 2x + b
    of that channel's logits. Weights are copies, some folded: what is trained later does not reach them."""

    def __init__(self, unet: UNet, channel: int) -> None:
        super().__init__()
        down, skip, up = copy.deepcopy(unet.model)
        enlarge, refine = up
        self.body = nn.Sequential(down, skip)
        self.pad = nn.ZeroPad2d((0, 1, 0, 1))
        self.enlarge = _enlarging(enlarge.conv, enlarge.adn.N)
        self.bend = enlarge.adn.A
        self.refine = _refining(refine.conv.unit0.conv, channel)
        _leaky(self)

    def forward(self, film: Tensor) -> Tensor:
        phases: Tensor = self.refine(self.bend(self.enlarge(self.pad(self.body(film)))))
        return phases


def _leaky(module: nn.Module) -> None:
    """Put a LeakyReLU in the place of every PReLU of one slope in `module`."""
    for name, child in module.named_children():
        if isinstance(child, nn.PReLU) and child.num_parameters == 1:
            setattr(module, name, nn.LeakyReLU(child.weight.item()))
        else:
            _leaky(child)


@torch.no_grad()
def _enlarging(conv: nn.ConvTranspose2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """Doubling and normalising C → D channels, as one convolution C → 4 D of a film padded by one at the right and the bottom."""
    assert norm.running_mean is not None and norm.running_var is not None and conv.bias is not None
    inside, out = conv.weight.shape[:2]
    weight = torch.zeros(out, 2, 2, inside, 2, 2)  # (D, a, b, C, row, column)
    for a, rows in _SEEN.items():
        for b, columns in _SEEN.items():
            for row, down in rows:
                for column, across in columns:
                    weight[:, a, b, :, row, column] = conv.weight[:, :, down, across].T
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    bias = (conv.bias - norm.running_mean) * gain + norm.bias
    return _convolution(weight * gain[:, None, None, None, None, None], bias, padding=0)


@torch.no_grad()
def _refining(conv: nn.Conv2d, channel: int) -> nn.Conv2d:
    """x + conv(x), 3 × 3 over D channels, of which `channel` is kept: one 3 × 3 convolution 4 D → 4."""
    assert conv.bias is not None
    weight = torch.zeros(1, 2, 2, conv.in_channels, 2, 2, 3, 3)  # (1, a, b, D, phase of the row, of the column, row, column)
    for a in (0, 1):
        for b in (0, 1):
            for row in range(3):
                for column in range(3):
                    y, x = a + row - 1, b + column - 1  # of the pixel seen, from the upper left one of the four
                    weight[0, a, b, :, y % 2, x % 2, y // 2 + 1, x // 2 + 1] = conv.weight[channel, :, row, column]
            weight[0, a, b, channel, a, b, 1, 1] += 1
    return _convolution(weight, conv.bias[channel : channel + 1], padding=1)


def _convolution(weight: Tensor, bias: Tensor, padding: int) -> nn.Conv2d:
    """`weight` (out, 2, 2, in…, height, width) and `bias` (out,) → the convolution with 4 out channels."""
    flat = weight.reshape(4 * len(bias), -1, *weight.shape[-2:])
    made = nn.Conv2d(flat.shape[1], len(flat), flat.shape[-1], padding=padding)
    made.weight.copy_(flat)
    made.bias.copy_(bias.repeat_interleave(4))  # type: ignore[union-attr]
    return made
