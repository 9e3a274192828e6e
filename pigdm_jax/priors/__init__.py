"""What a prior is, its noise schedule, and the constructors of priors."""
