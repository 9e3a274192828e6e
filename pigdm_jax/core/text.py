"""Text for a terminal and for errors."""


def printable(text: str) -> str:
    r"""Text in which characters that a terminal would act on are written as escapes.

    Names of files may hold line breaks, escape sequences, and bytes that are no text.

    Examples:
      >>> print(printable("a\nb\x1b[2J.png"))
      a\nb\x1b[2J.png
    """
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def one_line(text: str) -> str:
    r"""Text with each run of spaces and line breaks as one space.

    Examples:
      >>> one_line("[[1, 2],\n [3, 4]]")
      '[[1, 2], [3, 4]]'
    """
    return " ".join(text.split())


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte that is no text
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
