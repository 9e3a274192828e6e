"""Folders of pictures: listed, grouped by shape, restored in batches, journalled."""
