"""Picture files, and what a task makes of them."""
