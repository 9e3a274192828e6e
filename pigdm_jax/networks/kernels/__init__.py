"""Operations of the networks that have their own lowering on CPUs."""
