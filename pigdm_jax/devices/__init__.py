"""Devices, hosts and meshes, and batches over them."""
