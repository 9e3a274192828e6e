"""JiT, the pixel transformer (Li and He 2025), and its public PyTorch checkpoints."""
