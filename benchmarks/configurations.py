"""The configurations of public networks that several benchmarks use."""

import pigdm_jax as pj
from pigdm_jax.networks.ddpm.recognition import DDPM_256 as PUBLIC_DDPM

# OpenAI's 256x256_diffusion_uncond.
ADM_256 = pj.UNetConfig(
    model_channels=256,
    channel_mult=(1, 1, 2, 2, 4, 4),
    num_res_blocks=2,
    attention_resolutions=(8, 16, 32),
    out_channels=6,
    num_head_channels=64,
)
# google/ddpm-celebahq-256.
DDPM_256 = PUBLIC_DDPM.config
JIT_B16 = pj.PixelTransformerConfig(
    image_size=256,
    patch_size=16,
    hidden_size=768,
    depth=12,
    num_heads=12,
    mlp_size=2048,
    bottleneck_dim=128,
    num_classes=1000,
    in_context_start=4,
)
