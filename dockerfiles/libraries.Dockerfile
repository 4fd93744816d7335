# The target's headers, start files and libgcc, and the static libraries its interpreters are linked with.
ARG BUILDER
ARG BUILDER_PLATFORM
ARG TARGET_BASE
ARG TARGET_PLATFORM
ARG TOOLCHAIN_IMAGE

FROM --platform=${BUILDER_PLATFORM} ${TOOLCHAIN_IMAGE} AS toolchain

FROM --platform=${TARGET_PLATFORM} ${TARGET_BASE} AS sysroot
COPY apk/ /run/apk/
COPY scripts/add-packages.sh /scripts/
ARG APK_MIRROR
ARG APK_BRANCH
ARG SYSROOT_PACKAGES
RUN /scripts/add-packages.sh ${SYSROOT_PACKAGES}

FROM --platform=${BUILDER_PLATFORM} ${BUILDER}
COPY --from=toolchain /opt/musllinux-build/ /opt/musllinux-build/
COPY --from=sysroot /lib/ /sysroot/lib/
COPY --from=sysroot /usr/include/ /sysroot/usr/include/
COPY --from=sysroot /usr/lib/ /sysroot/usr/lib/
ENV MUSLLINUX_BUILD_SYSROOT=/sysroot
ARG TARGET_ARCH
ARG TARGET_TRIPLE
ARG OPENSSL_TARGET
ARG CLOCK
ENV PATH=/opt/musllinux-build/toolchain/targets/${TARGET_ARCH}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    TARGET_ARCH=${TARGET_ARCH} TARGET_TRIPLE=${TARGET_TRIPLE} SOURCE_DATE_EPOCH=${CLOCK}
ARG POLICY
ARG MUSL_PACKAGE
COPY scripts/prepare-sysroot.sh /scripts/
RUN /scripts/prepare-sysroot.sh
COPY sources/openssl/ /sources/
COPY scripts/build-openssl.sh /scripts/
RUN /scripts/build-openssl.sh
COPY sources/zlib/ /sources/
COPY scripts/build-zlib.sh /scripts/
RUN /scripts/build-zlib.sh
COPY sources/bzip2/ /sources/
COPY scripts/build-bzip2.sh /scripts/
RUN /scripts/build-bzip2.sh
COPY sources/xz/ /sources/
COPY scripts/build-xz.sh /scripts/
RUN /scripts/build-xz.sh
COPY sources/libffi/ /sources/
COPY scripts/build-libffi.sh /scripts/
RUN /scripts/build-libffi.sh
COPY sources/sqlite/ /sources/
COPY scripts/build-sqlite.sh /scripts/
RUN /scripts/build-sqlite.sh
COPY sources/ncurses/ /sources/
COPY scripts/build-ncurses.sh /scripts/
RUN /scripts/build-ncurses.sh
COPY sources/readline/ /sources/
COPY scripts/build-readline.sh /scripts/
RUN /scripts/build-readline.sh
COPY sources/gdbm/ /sources/
COPY scripts/build-gdbm.sh /scripts/
RUN /scripts/build-gdbm.sh
COPY sources/mpdecimal/ /sources/
COPY scripts/build-mpdecimal.sh /scripts/
RUN /scripts/build-mpdecimal.sh
COPY sources/zstd/ /sources/
COPY scripts/build-zstd.sh /scripts/
RUN /scripts/build-zstd.sh
COPY sources/util-linux/ /sources/
COPY scripts/build-uuid.sh /scripts/
RUN /scripts/build-uuid.sh
