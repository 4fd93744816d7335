"""What an ELF object says about itself, and what musl's loader would make of it."""
