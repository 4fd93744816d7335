# What a collection of interpreters begins with.
ARG BUILDER_PLATFORM
FROM --platform=${BUILDER_PLATFORM} scratch
COPY out/ /out/
