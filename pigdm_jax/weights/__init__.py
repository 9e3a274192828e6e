"""Priors on disk: saving, loading, converting; `shipped/` holds those that ship."""
