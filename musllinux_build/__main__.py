"""``python -m musllinux_build`` is the same as ``musllinux-build``."""

from musllinux_build.cli.main import run

if __name__ == "__main__":
    run()
