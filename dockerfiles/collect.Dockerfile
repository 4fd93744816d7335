# One more interpreter beside those collected before, so that the image takes all of them in one step: the classic
# builder loses a layer when it copies from many images in a row (moby, "layer does not exist").
ARG BUILDER_PLATFORM
ARG COLLECTED
ARG INTERPRETER

FROM --platform=${BUILDER_PLATFORM} ${INTERPRETER} AS interpreter

FROM --platform=${BUILDER_PLATFORM} ${COLLECTED}
COPY --from=interpreter /out/ /out/
