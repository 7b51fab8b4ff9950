# Both images. `.ci/images build` calls this with the right arguments; `docker build --target runtime .` works too.
#
# BASE_IMAGE       any Linux with python3 >= 3.11. One that has torch (a vendor's image, Debian's python3-torch) is used as
#                  it is: its torch and its numpy stay, the rest is installed beside them.
# BUILD_IMAGE      where the wheel is made, with the same Python as BASE_IMAGE; given so that two targets share the wheel.
# TORCH_INDEX_URL  the index that torch is taken from where the base has none: a CPU or a CUDA version's index.
#
# Two optional build secrets: `pip`, a pip.conf (index, proxy), and `ca`, a bundle of certificates that this pip.conf may
# name as /run/secrets/ca. Secrets are mounted for one step: unlike ARG and ENV they stay in no layer and no history, so
# an index URL may carry a password.
#
# What changes rarely comes first: a change of code makes one small layer anew.
ARG BASE_IMAGE=python:3.13-slim-trixie
ARG BUILD_IMAGE=${BASE_IMAGE}


# The wheel, installed into /layer just as it will lie in the images.
FROM ${BUILD_IMAGE} AS package
# The second form of venv is for images without ensurepip that bring a pip of their own.
RUN { python3 -m venv /opt/tools || python3 -m venv --clear --without-pip --system-site-packages /opt/tools; } \
 && python3 -m venv --without-pip /opt/slipway
COPY .ci/requirements-build.txt /build/.ci/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca,target=/run/secrets/ca \
    unset PIP_CONSTRAINT \
 && /opt/tools/bin/python -m pip install --quiet --no-cache-dir --require-hashes -r /build/.ci/requirements-build.txt
WORKDIR /build
COPY pyproject.toml README.md LICENSE* ./
COPY operator operator
COPY runtime runtime
RUN /opt/tools/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir /wheel . \
 && /opt/tools/bin/python -m pip --python /opt/slipway/bin/python install --quiet --no-cache-dir --no-compile \
        --no-warn-script-location --no-index --no-deps --root /layer /wheel/*.whl \
 && python3 -m compileall -q --invalidation-mode unchecked-hash -s /layer -p / /layer/opt/slipway/lib


# pip, mounted where something is installed and in no image.
FROM ${BASE_IMAGE} AS tools
# Buildah 1.28 cannot mount from a stage that came whole from its cache, so what changes a step that mounts this
# stage changes the stage as well.
COPY Dockerfile operator/requirements.txt runtime/requirements*.txt /opt/for/
RUN python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "BASE_IMAGE: expected Python 3.11 or newer, got " + sys.version)' \
 && { python3 -m venv /opt/tools || python3 -m venv --clear --without-pip --system-site-packages /opt/tools; }


FROM ${BASE_IMAGE} AS final
# The official Python image brings a pip; a served container has no use for it.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3.*/site-packages/pip /usr/local/lib/python3.*/site-packages/pip-*
# The user has no entry in /etc/passwd: USER and HOME answer the libraries that ask for a name or a writable folder.
ENV PATH=/opt/slipway/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    USER=slipway
WORKDIR /


FROM final AS operator
COPY operator/requirements.txt /opt/slipway/
# Bytecode makes the operator start in 1.1 s instead of 3.5 s and cannot be written later, the root file system being
# read-only. The Kubernetes client's generated models and calls (50 MB of bytecode) are left as source: it loads each
# when it is first used, and server-side apply uses hardly any.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca,target=/run/secrets/ca \
    --mount=type=bind,from=tools,source=/opt/tools,target=/run/tools \
    unset PIP_CONSTRAINT && python3 -m venv --without-pip /opt/slipway \
 && /run/tools/bin/python -m pip --python /opt/slipway/bin/python install --quiet --no-cache-dir --no-compile \
        --require-hashes -r /opt/slipway/requirements.txt \
 && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash \
        -x 'kubernetes/(aio/)?client/(models|api)/[a-z0-9_]*(v[0-9]|_api\.)' /opt/slipway/lib
COPY --from=package /layer /
USER 65532:65532
ENTRYPOINT ["slipway-operator"]
ARG VERSION=0
ARG REVISION=unknown
ARG SOURCE=https://slipway.dev
LABEL org.opencontainers.image.title="slipway-operator" \
      org.opencontainers.image.description="Turns ModelDeployments into served models" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"


FROM final AS runtime
COPY runtime/requirements-torch.txt /opt/slipway/
ARG TORCH_INDEX_URL
# Another index has other builds of torch, so other hashes: there torch and its GPU libraries are pinned by version, and
# everything else is still checked against the lock.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca,target=/run/secrets/ca \
    --mount=type=bind,from=tools,source=/opt/tools,target=/run/tools \
    unset PIP_CONSTRAINT && lock=/opt/slipway/requirements-torch.txt \
 && pip="/run/tools/bin/python -m pip --python /opt/slipway/bin/python install --quiet --no-cache-dir" \
 && if python3 -c 'import numpy, torch'; then \
        python3 -m venv --without-pip --system-site-packages /opt/slipway; \
    elif python3 -m venv --without-pip /opt/slipway && [ -z "${TORCH_INDEX_URL}" ]; then \
        $pip --require-hashes -r $lock; \
    else \
        awk '/^[^ ]/ {drop = /^(torch|triton|nvidia-|cuda-)/} !drop' $lock > /tmp/rest \
        && $pip --require-hashes -r /tmp/rest \
        && $pip --index-url "${TORCH_INDEX_URL}" "$(grep -o '^torch==[0-9.]*' $lock)" \
        && rm /tmp/rest; \
    fi
COPY runtime/requirements.txt /opt/slipway/
# --ignore-installed: the pinned versions go into our layer even where the base has others, and nothing of the base is
# uninstalled. --no-deps: the file is complete but for numpy, which is there already.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca,target=/run/secrets/ca \
    --mount=type=bind,from=tools,source=/opt/tools,target=/run/tools \
    unset PIP_CONSTRAINT \
 && /run/tools/bin/python -m pip --python /opt/slipway/bin/python install --quiet --no-cache-dir --no-compile \
        --no-warn-conflicts --no-deps --ignore-installed --require-hashes -r /opt/slipway/requirements.txt \
 && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/slipway/lib
COPY --from=package /layer /
USER 65532:65532
ENTRYPOINT ["slipway-runtime"]
ARG VERSION=0
ARG REVISION=unknown
ARG SOURCE=https://slipway.dev
LABEL org.opencontainers.image.title="slipway-runtime" \
      org.opencontainers.image.description="Serves one model artifact over the Open Inference Protocol" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
