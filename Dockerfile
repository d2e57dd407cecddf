# The image of the agent and its sidecars: a C library, Node, the bundles and the commands that start them. No shell, no package manager, and nothing runs in the
# final stage, so that it can be built for amd64 and arm64 on either. scripts/image builds it; by hand:
#   buildah build --timestamp 0 --platform linux/arm64 --build-arg BUILD_BASE=… --build-arg BUNDLE=build --build-arg BASE=… -t registry-trust .
# BASE: anything with glibc >= 2.34 and libstdc++ (a distroless "cc" image); pin it by digest. BUILD_BASE: anything with npm and tar,
# for the machine that builds.
# BUNDLE: where /out comes from (buildah 1.28 does not find the stage by the default alone); an image that has it ready makes the build stage, and with it every network access, unnecessary.
ARG BASE
ARG BUILD_BASE=scratch
ARG BUNDLE=build

FROM --platform=$BUILDPLATFORM ${BUILD_BASE} AS build
ARG TARGETARCH
WORKDIR /src
COPY . .
RUN npm ci && node_modules/.bin/node scripts/image-content.ts /out $TARGETARCH

FROM ${BUNDLE} AS bundle

FROM ${BASE} AS image
COPY --from=bundle /out/node /usr/bin/node
COPY --from=bundle /out/registry-trust/ /usr/lib/registry-trust/
COPY --from=bundle /out/bin/ /usr/bin/
# The Pods say uid 0, as the node's files belong to root; status, plan and lint need no rights.
USER 65532:65532
# One arena of malloc and a small young generation: 18 MiB less for the agent, and no thread is slower for it.
ENV MALLOC_ARENA_MAX=1
ENTRYPOINT ["/usr/bin/node", "--max-semi-space-size=1", "/usr/lib/registry-trust/registry-trust.cjs"]
CMD ["agent"]
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="registry-trust-agent" \
      org.opencontainers.image.description="Makes Kubernetes nodes trust private registries, and proves it with a test pull" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
