"""The UNet of PnP-Flow in PyTorch, a function of its tensors by their public names."""

import math

import torch
import torch.nn.functional as F


class Flow:
    """It is called as model(x, t), where t is 1 for a clean image.

    Args:
      channels: of each level.
      blocks: residual blocks in each level on the way down.
      attention: levels with attention.
    """

    def __init__(self, channels, blocks, attention):
        self.channels, self.blocks, self.attention = channels, blocks, attention
        self.state = {}
        self.generator = torch.Generator().manual_seed(0)

    def tensor(self, name, *shape, around=0.0):
        """The tensor of a name; a new random one if there is none."""
        if name not in self.state:
            noise = torch.randn(shape, generator=self.generator)
            width = math.prod(shape[1:]) if len(shape) > 1 else 10
            self.state[name] = around + noise / width**0.5
        return self.state[name]

    def conv(self, x, name, outer, size=3, stride=1):
        weight = self.tensor(f"{name}.weight", outer, x.shape[1], size, size)
        bias = self.tensor(f"{name}.bias", outer)
        return F.conv2d(x, weight, bias, stride, size // 2)

    def dense(self, x, name, outer):
        weight = self.tensor(f"{name}.weight", outer, x.shape[1])
        return F.linear(x, weight, self.tensor(f"{name}.bias", outer))

    def norm(self, x, name):
        weight = self.tensor(f"{name}.weight", x.shape[1], around=1.0)
        return F.group_norm(
            x, 32, weight, self.tensor(f"{name}.bias", x.shape[1]), 1e-6
        )

    def block(self, x, emb, name, outer):
        h = self.conv(F.silu(self.norm(x, f"{name}.norm1")), f"{name}.conv1", outer)
        emb = self.dense(F.silu(emb), f"{name}.temb_proj", outer)
        h = F.silu(self.norm(h + emb[:, :, None, None], f"{name}.norm2"))
        if x.shape[1] != outer:
            x = self.conv(x, f"{name}.shortcut", outer, 1)
        return x + self.conv(h, f"{name}.conv2", outer)

    def attend(self, x, name):
        c = x.shape[1]
        h = self.norm(x, f"{name}.norm")
        q, k, v = (self.conv(h, f"{name}.attn_{n}", c, 1).flatten(2) for n in "qkv")
        weights = torch.softmax(q.transpose(1, 2) @ k / c**0.5, dim=-1)
        out = (v @ weights.transpose(1, 2)).reshape(x.shape)
        return x + self.conv(out, f"{name}.proj_out", c, 1)

    def embed(self, t):
        half = self.channels[0] // 2
        frequencies = 10000 ** -(torch.arange(half) / (half - 1))
        angles = t[:, None] * frequencies
        emb = torch.cat([angles.sin(), angles.cos()], 1)
        emb = self.dense(emb, "temb_net.main.0", 4 * self.channels[0])
        return self.dense(F.silu(emb), "temb_net.main.2", 4 * self.channels[0])

    def __call__(self, x, t):
        emb, image, last = self.embed(t), x.shape[1], len(self.channels) - 1
        h = self.conv(x, "begin_conv", self.channels[0])
        kept = [h]
        for level, width in enumerate(self.channels):
            for i in range(self.blocks):
                h = self.stage(h, emb, f"down_modules.{level}", level, i, width)
                kept.append(h)
            if level != last:
                name = f"down_modules.{level}.{level}b_downsample"
                h = self.conv(h, name, width, stride=2)
                kept.append(h)
        h = self.block(h, emb, "mid_modules.0", self.channels[-1])
        h = self.attend(h, "mid_modules.1")
        h = self.block(h, emb, "mid_modules.2", self.channels[-1])
        for level in reversed(range(last + 1)):
            place, width = f"up_modules.{last - level}", self.channels[level]
            for i in range(self.blocks + 1):
                h = torch.cat([h, kept.pop()], 1)
                h = self.stage(h, emb, place, level, i, width)
            if level:
                h = F.interpolate(h, scale_factor=2.0)
                h = self.conv(h, f"{place}.{level}b_upsample.up_conv", width)
        h = F.silu(self.norm(h, "end_conv.0"))
        return self.conv(h, "end_conv.2", image)

    def stage(self, h, emb, place, level, i, width):
        h = self.block(h, emb, f"{place}.{level}a_{i}a_block", width)
        if level in self.attention:
            h = self.attend(h, f"{place}.{level}a_{i}b_attn")
        return h
