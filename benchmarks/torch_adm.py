"""The ADM UNet and Algorithm 1 in plain PyTorch, to time ours against.

`ADM` bears the parameter names of the public checkpoints and computes what the original
does, with what PyTorch has had since: fused attention, non-reentrant checkpointing.
`restore` is Algorithm 1 with the "adaptive" weight, on the device alone. With
`as_shipped` it does what public codes do besides: every weight asks for its gradient,
which the reentrant checkpoint computes at each step, and each step's image is copied to
the host.
"""

import math
from collections.abc import Callable, Sequence

import jax
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pigdm_jax.networks import UNetConfig
from pigdm_jax.networks.keys import torch_key


class ScaleAndShift(nn.Module):
    """The norm of a network without statistics."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (x.ndim - 2)
        weight, bias = (a.view(shape).to(x.dtype) for a in (self.weight, self.bias))
        return torch.addcmul(bias, x, weight)


def norm(channels: int, config: UNetConfig) -> nn.Module:
    return nn.GroupNorm(32, channels) if config.group_norm else ScaleAndShift(channels)


def conv(inner: int, outer: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inner, outer, size, stride, padding=size // 2)


def halve(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2)


def double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class ResBlock(nn.Module):
    def __init__(self, inner: int, outer: int, config: UNetConfig, way: str = ""):
        super().__init__()
        self.film = config.use_scale_shift_norm
        self.change = {"down": halve, "up": double}.get(way, lambda x: x)
        self.in_layers = nn.Sequential(
            norm(inner, config), nn.SiLU(), conv(inner, outer)
        )
        width = outer * (2 if self.film else 1)
        self.emb_layers = nn.Sequential(
            nn.SiLU(), nn.Linear(4 * config.model_channels, width)
        )
        self.out_layers = nn.Sequential(
            norm(outer, config), nn.SiLU(), nn.Identity(), conv(outer, outer)
        )
        same = inner == outer
        self.skip_connection = nn.Identity() if same else conv(inner, outer, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.change(self.in_layers[1](self.in_layers[0](x)))
        h, x = self.in_layers[2](h), self.change(x)
        emb = self.emb_layers(emb)[:, :, None, None]
        if self.film:
            scale, shift = emb.chunk(2, dim=1)
            h = self.out_layers[0](h) * (1 + scale) + shift
        else:
            h = self.out_layers[0](h + emb)
        return self.skip_connection(x) + self.out_layers[1:](h)


class AttentionBlock(nn.Module):
    def __init__(self, channels: int, heads: int, config: UNetConfig):
        super().__init__()
        self.heads, self.new_order = heads, config.use_new_attention_order
        self.norm = norm(channels, config)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        b, c, *size = x.shape
        tokens = x.reshape(b, c, -1)
        qkv = self.qkv(self.norm(tokens))
        order = (b, 3, self.heads) if self.new_order else (b, self.heads, 3)
        qkv = qkv.reshape(*order, c // self.heads, -1).transpose(-1, -2)
        q, k, v = qkv.unbind(1 if self.new_order else 2)
        out = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2)
        return (tokens + self.proj_out(out.reshape(b, c, -1))).reshape(b, c, *size)


class Downsample(nn.Module):
    def __init__(self, channels: int, use_conv: bool):
        super().__init__()
        self.op = conv(channels, channels, stride=2) if use_conv else halve

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    def __init__(self, channels: int, use_conv: bool):
        super().__init__()
        self.conv = conv(channels, channels) if use_conv else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        return self.conv(double(x))


class First(nn.Conv2d):
    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        if not torch.is_autocast_enabled(x.device.type):
            return super().forward(x)
        # Rounded to bfloat16, the input would hide noise of low levels.
        dtype = torch.get_autocast_dtype(x.device.type)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x).to(dtype)


class ADM(nn.Module):
    """The network. `save` is called as save(block, x, emb) around every block."""

    def __init__(self, config: UNetConfig):
        super().__init__()
        c = self.config = config
        width = c.model_channels
        self.time_embed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width)
        )
        if c.num_classes is not None:
            self.label_emb = nn.Embedding(c.num_classes, 4 * width)

        def attention(channels: int, heads: int) -> AttentionBlock:
            if c.num_head_channels != -1:
                heads = channels // c.num_head_channels
            return AttentionBlock(channels, heads, c)

        def resample(way: str, channels: int) -> nn.Module:
            if c.resblock_updown:
                return ResBlock(channels, channels, c, way)
            plain = Downsample if way == "down" else Upsample
            return plain(channels, c.conv_resample)

        channels = int(c.channel_mult[0] * width)
        first = First(c.in_channels, channels, 3, padding=1)
        self.input_blocks = nn.ModuleList([nn.ModuleList([first])])
        widths, last = [channels], len(c.channel_mult) - 1
        for level, mult in enumerate(c.channel_mult):
            for _ in range(c.num_res_blocks):
                parts = [ResBlock(channels, int(mult * width), c)]
                channels = int(mult * width)
                if 2**level in c.attention_resolutions:
                    parts.append(attention(channels, c.num_heads))
                self.input_blocks.append(nn.ModuleList(parts))
                widths.append(channels)
            if level != last:
                self.input_blocks.append(nn.ModuleList([resample("down", channels)]))
                widths.append(channels)
        self.middle_block = nn.ModuleList(
            [
                ResBlock(channels, channels, c),
                attention(channels, c.num_heads),
                ResBlock(channels, channels, c),
            ]
        )
        heads_up = c.num_heads if c.num_heads_upsample == -1 else c.num_heads_upsample
        self.output_blocks = nn.ModuleList()
        for level, mult in reversed(list(enumerate(c.channel_mult))):
            for i in range(c.num_res_blocks + 1):
                parts = [ResBlock(channels + widths.pop(), int(mult * width), c)]
                channels = int(mult * width)
                if 2**level in c.attention_resolutions:
                    parts.append(attention(channels, heads_up))
                if level and i == c.num_res_blocks:
                    parts.append(resample("up", channels))
                self.output_blocks.append(nn.ModuleList(parts))
        self.out = nn.Sequential(
            norm(channels, c), nn.SiLU(), conv(channels, c.out_channels)
        )

    def forward(self, x: Tensor, t: Tensor, save: Callable | None = None) -> Tensor:
        run = save or (lambda block, x, emb: block(x, emb))
        emb = self.time_embed(embedding(t, self.config.model_channels).to(x.dtype))
        h, skips = x, []
        for blocks in self.input_blocks:
            for block in blocks:
                h = run(block, h, emb)
            skips.append(h)
        for block in self.middle_block:
            h = run(block, h, emb)
        for blocks in self.output_blocks:
            h = torch.cat([h, skips.pop()], dim=1)
            for block in blocks:
                h = run(block, h, emb)
        return self.out(h)


def embedding(t: Tensor, width: int) -> Tensor:
    half = width // 2
    steps = torch.arange(half, dtype=torch.float32, device=t.device)
    angles = t[:, None] * torch.exp(-math.log(10000) * steps / half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def state_of(params: dict, network: nn.Module) -> dict[str, Tensor]:
    """A Flax UNet's parameters as the state of an ADM UNet, ours or a public code's."""
    state = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        names = tuple(k.key for k in path)
        array = np.asarray(leaf)
        if names[-1] == "kernel":
            array = array.T if array.ndim == 2 else array.transpose(3, 2, 0, 1)
        state[torch_key(names)] = torch.tensor(array)
    # The 1 x 1 convolutions over tokens have one axis more.
    shapes = {key: value.shape for key, value in network.state_dict().items()}
    return {key: value.reshape(shapes[key]) for key, value in state.items()}


def frugal(block: nn.Module, x: Tensor, emb: Tensor) -> Tensor:
    """A block that keeps its input alone and is computed again for the gradient."""
    return checkpoint(block, x, emb, use_reentrant=False)


class _Reentrant(torch.autograd.Function):
    """The public codes' checkpoint, which also computes all weights' gradients."""

    @staticmethod
    def forward(ctx, block, x, emb, *weights):
        ctx.block, ctx.inputs, ctx.weights = block, (x, emb), weights
        with torch.no_grad():
            return block(x, emb)

    @staticmethod
    def backward(ctx, gradient):
        inputs = [x.detach().requires_grad_() for x in ctx.inputs]
        with torch.enable_grad():
            out = ctx.block(*inputs)
        gradients = torch.autograd.grad(
            out, (*inputs, *ctx.weights), gradient, allow_unused=True
        )
        return (None, *gradients)


def wasteful(block: nn.Module, x: Tensor, emb: Tensor) -> Tensor:
    return _Reentrant.apply(block, x, emb, *block.parameters())


def restore(
    eps: Callable[[Tensor, Tensor], Tensor],
    apply: Callable[[Tensor], Tensor],
    pinv: Callable[[Tensor], Tensor],
    y: Tensor,
    x: Tensor,
    alpha_bar: Sequence[float],
    levels: Sequence[int],
    eta: float,
    on_step: Callable[[Tensor], object] = lambda x: None,
) -> Tensor:
    """Algorithm 1 without noise, "adaptive" weight r_t^2 sqrt(a_s a_t) / r_t^2.

    Args:
      eps: the network at (x_t, t).
      apply, pinv: the operator and its pseudoinverse.
      y: measurements.
      x: the samples at the noisiest level.
      alpha_bar: by level, 0 being clean.
      levels: to visit, from 0 up.
      eta: 0 to 1.
      on_step: called with every step's images.
    """
    pairs = list(zip(levels[:0:-1], levels[-2::-1], strict=True))
    for level, lower in pairs:
        a_t, a_s = alpha_bar[level], alpha_bar[lower]
        c1 = eta * math.sqrt((1 - a_t / a_s) * (1 - a_s) / (1 - a_t))
        c2 = math.sqrt(max(0.0, 1 - a_s - c1**2))
        t = torch.full((len(x),), level - 1.0, device=x.device)
        x_t = x.detach().requires_grad_()
        e = eps(x_t, t)
        x0 = (x_t - math.sqrt(1 - a_t) * e) / math.sqrt(a_t)
        with torch.no_grad():
            v = pinv(y) - pinv(apply(x0))
        (gradient,) = torch.autograd.grad(x0, x_t, v)
        with torch.no_grad():
            z = torch.randn_like(x) if eta else 0.0
            x = math.sqrt(a_s) * x0 + c1 * z + c2 * e + math.sqrt(a_s * a_t) * gradient
        on_step(x)
    return x.detach()
