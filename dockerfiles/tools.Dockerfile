# What an image has besides packages and interpreters, below /out as it will lie there: our own tool with what it runs
# on, the commands that come as wheels, certificates. Unpacked and compiled to byte code by the build python, natively.
ARG BUILDER_PLATFORM
ARG NATIVE

FROM --platform=${BUILDER_PLATFORM} ${NATIVE}
COPY tools/ /tools/
COPY tool/ /tool/
COPY contents/ /contents/
COPY scripts/manylinux-interpreters scripts/install_tools.py /scripts/
ARG CPYTHON_VERSION
# Without a seed sets would be written in another order each time.
RUN PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1 \
    /opt/build-python/bin/python3 /scripts/install_tools.py "${CPYTHON_VERSION}"
