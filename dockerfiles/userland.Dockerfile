# Native programs for containers of other architectures: what a stock Alpine of the engine's architecture has of busybox,
# and make, tar and the like from its packages. Only files, for the volume that build containers mount.
ARG ENGINE_BASE
ARG ENGINE_PLATFORM
ARG TOOLCHAIN_IMAGE

FROM --platform=${ENGINE_PLATFORM} ${TOOLCHAIN_IMAGE} AS toolchain

FROM --platform=${ENGINE_PLATFORM} ${ENGINE_BASE} AS root
COPY apk/ /run/apk/
COPY scripts/add-packages.sh /scripts/
ARG APK_MIRROR
ARG APK_BRANCH
ARG USERLAND_PACKAGES
RUN /scripts/add-packages.sh ${USERLAND_PACKAGES} && rm -rf /run/apk
COPY --from=toolchain /opt/musllinux-build/toolchain/applet /userland/applet
COPY scripts/collect-userland.sh /scripts/
ARG USERLAND_FOREIGN
RUN /scripts/collect-userland.sh ${USERLAND_FOREIGN}

FROM --platform=${ENGINE_PLATFORM} scratch
COPY --from=root /userland/ /opt/musllinux-build/userland/
