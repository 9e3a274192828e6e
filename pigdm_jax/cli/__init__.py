"""The command `pigdm`."""
