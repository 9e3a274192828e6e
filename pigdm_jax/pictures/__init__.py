"""Picture files, and the problems that they and a task pose."""
