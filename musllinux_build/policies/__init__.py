"""Which symbols each musl provides, derived from recorded releases."""
