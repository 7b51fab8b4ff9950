# The base of the runtime for machines that reach no registry of images; called by .ci/base-image.
ARG PYTHON_BASE
FROM ${PYTHON_BASE}
# The mirror, the proxy and the certificates are those of the machine that builds; none of them stays in the image.
# Without OpenBLAS this torch multiplies matrices 40 times slower.
RUN --mount=type=secret,id=apt-sources,target=/etc/apt/sources.list.d/build.list \
    --mount=type=secret,id=apt-conf,target=/etc/apt/apt.conf.d/99build \
    --mount=type=secret,id=ca,target=/run/secrets/ca \
    apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3-torch libopenblas0-pthread >/dev/null \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*
