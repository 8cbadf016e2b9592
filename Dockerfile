# Headfirst in a container. How to build and run it: deploy/README.md.
#
#   docker build --build-arg TORCH_INDEX_URL=<index of PyTorch's CPU wheels> -t headfirst .
#
# The base is a Debian with Python 3.11 or newer and its venv: an official slim image, or python3-venv installed.
ARG BASE_IMAGE=docker.io/library/python:3.12-slim-bookworm

# ---- build: everything that needs pip; none of it reaches the last stage but /opt/headfirst -------------------
FROM ${BASE_IMAGE} AS build

# Which torch: "cpu" takes the build marked +cpu, "cuda" the plain version (on Linux x86-64, a CUDA build).
ARG VARIANT=cpu
ARG TORCH_VERSION=2.13.0
# A package index beside pip's own, asked for torch alone. PyTorch's install page names one for each variant.
ARG TORCH_INDEX_URL=""
# A mirror of pip's own index; pip reads this variable, and its default where nothing is given.
ARG PIP_INDEX_URL

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONDONTWRITEBYTECODE=1

# The compiler of the C++ kernels. Any version will do: it stays in this stage.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*

# pip lives outside of the environment that it fills, so the image carries none.
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/headfirst

WORKDIR /src
COPY constraints.txt ./

# torch first and alone: the largest layer is built again only when its version or variant changes.
RUN set -eu; \
    case "${VARIANT}" in \
      cpu) torch="torch==${TORCH_VERSION}+cpu" ;; \
      cuda) torch="torch==${TORCH_VERSION}" ;; \
      *) echo "VARIANT is cpu or cuda, not '${VARIANT}'" >&2; exit 2 ;; \
    esac; \
    /opt/pip/bin/pip --python /opt/headfirst/bin/python install --no-cache-dir --no-compile \
      ${TORCH_INDEX_URL:+--extra-index-url "${TORCH_INDEX_URL}"} --constraint constraints.txt "${torch}" \
    || { echo "no ${torch} found: give its package index by --build-arg TORCH_INDEX_URL=..." >&2; exit 1; }

COPY pyproject.toml README.md LICENSE ./
COPY models ./models
COPY service ./service

# Optional extras of pyproject.toml, separated by commas: what a served model, or whoever runs it, may need.
ARG EXTRAS=otel,moses,chinese

RUN /opt/pip/bin/pip --python /opt/headfirst/bin/python install --no-cache-dir --no-compile \
      --constraint constraints.txt ".${EXTRAS:+[${EXTRAS}]}"

# What no running server reads goes: the test suites of numerical libraries, Arrow's headers and, in the CPU build,
# which never compiles C++, torch's headers and test programs (torch_shm_manager stays: `import torch` asks for it).
# Bytecode is made here, since the running container can't write any, and is trusted as it is: no file changes later.
# Left out: torch's own test helpers, some of which are for newer Pythons only.
RUN set -eu; \
    packages="$(/opt/headfirst/bin/python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')"; \
    find "${packages}/sympy" "${packages}/networkx" "${packages}/numpy" \
      -type d -name tests -prune -exec rm -rf {} +; \
    rm -rf "${packages}/pyarrow/tests" "${packages}/pyarrow/include"; \
    if [ "${VARIANT}" = cpu ]; then \
      rm -rf "${packages}/torch/include" "${packages}/torch/share" "${packages}/torch/test"; \
      find "${packages}/torch/bin" -mindepth 1 ! -name torch_shm_manager -delete; \
    fi; \
    /opt/headfirst/bin/python -m compileall -q -j 0 -x /torch/testing/_internal/ \
      --invalidation-mode unchecked-hash /opt/headfirst/lib; \
    /opt/headfirst/bin/python -P -c "import sys, torch, service; \
        from models.kernels.cpu.library import load; \
        load(); \
        from importlib.metadata import metadata; \
        known = metadata('headfirst').get_all('Provides-Extra'); \
        unknown = [name for name in '${EXTRAS}'.split(',') if name and name not in known]; \
        unknown and sys.exit(f'EXTRAS: no extra is called {unknown[0]!r}; there are {known}'); \
        built = 'cpu' if torch.version.cuda is None else 'cuda'; \
        sys.exit(None if built == '${VARIANT}' else f'VARIANT is ${VARIANT}, yet torch is built for {built}')"

# ---- the image ------------------------------------------------------------------------------------------------
FROM ${BASE_IMAGE}

ARG VERSION="unknown"
ARG REVISION="unknown"
LABEL org.opencontainers.image.title="Headfirst" \
      org.opencontainers.image.description="An inference server for word-level language models with an adaptive softmax" \
      org.opencontainers.image.licenses="Apache-2.0 AND CC-BY-SA-4.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

COPY --from=build /opt/headfirst /opt/headfirst

# HOME and USER stand in for an entry in /etc/passwd, which the user lacks; libraries that ask then find /tmp.
ENV PATH="/opt/headfirst/bin:${PATH}" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    USER=headfirst \
    HEADFIRST_HOST=0.0.0.0 \
    HEADFIRST_PORT=8080

# A number, so that Kubernetes can see that it is not root. Nothing is written outside /tmp.
USER 10001:10001
WORKDIR /tmp
EXPOSE 8080
STOPSIGNAL SIGTERM

# http.client follows no proxy variable; any other status than 200 is unhealthy.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python3", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['HEADFIRST_PORT']), timeout=4); c.request('GET', '/health/ready'); sys.exit(c.getresponse().status != 200)"]

ENTRYPOINT ["headfirst", "serve"]
