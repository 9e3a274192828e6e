"""What every part of the package uses: types, pytrees, checks, compilation."""
