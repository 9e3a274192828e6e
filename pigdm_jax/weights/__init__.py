"""Priors on disk: saving, loading, converting; `shipped/` has the shipped ones."""
