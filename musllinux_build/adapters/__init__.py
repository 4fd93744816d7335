"""The only modules that touch the outside: engine, processes, network, terminal."""
