"""Operations of the networks with lowerings of their own on CPUs."""
