"""The UNet of DDPM (Ho et al. 2020), its public checkpoints and its flow sibling."""
