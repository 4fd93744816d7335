# The engine's architecture, with what compiles; the same for every image.
ARG BUILDER_BASE
ARG BUILDER_PLATFORM

FROM --platform=${BUILDER_PLATFORM} ${BUILDER_BASE}
COPY scripts/builder-tools.sh scripts/component.sh /scripts/
RUN /scripts/builder-tools.sh
