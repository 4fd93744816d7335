"""Our verdicts against the real loaders: every wheel and fixture, on every Alpine of the lab folder."""
