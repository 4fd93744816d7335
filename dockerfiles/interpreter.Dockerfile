# One interpreter of the target, below /out as it will lie in the image.
ARG BUILDER_PLATFORM
ARG LIBRARIES
ARG NATIVE

FROM --platform=${BUILDER_PLATFORM} ${NATIVE} AS native

FROM --platform=${BUILDER_PLATFORM} ${LIBRARIES}
COPY --from=native /opt/build-python/ /opt/build-python/
COPY sources/ /sources/
COPY scripts/build-cpython.sh /scripts/
ARG CPYTHON_VERSION
ARG CPYTHON_THREADS
RUN /scripts/build-cpython.sh "${CPYTHON_VERSION}" "${CPYTHON_THREADS}"
COPY wheels/ /wheels/
COPY scripts/finish_cpython.py scripts/check_elf.py scripts/finish-cpython.sh /scripts/
ARG TARGET_MULTIARCH
ARG TARGET_LOADER
ARG TARGET_LIBC
ARG TARGET_ELF
RUN /scripts/finish-cpython.sh "${CPYTHON_VERSION}" "${CPYTHON_THREADS}"
