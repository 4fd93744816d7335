"""Makes what Alpine's mirror and the image registries give from Debian's packages and a Python package index."""
