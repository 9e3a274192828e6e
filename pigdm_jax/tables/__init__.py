"""Tables of papers: their settings and figures in files, run with any prior."""
