"""The ADM UNet (Dhariwal and Nichol 2021) and its public PyTorch checkpoints."""
