# The build python of one release, on the engine's architecture; the same for every image with that release.
ARG BUILDER
ARG BUILDER_PLATFORM

FROM --platform=${BUILDER_PLATFORM} ${BUILDER}
COPY sources/ /sources/
COPY scripts/build-native-python.sh /scripts/
ARG CPYTHON_VERSION
ARG CPYTHON_THREADS
RUN /scripts/build-native-python.sh "${CPYTHON_VERSION}" "${CPYTHON_THREADS}"
