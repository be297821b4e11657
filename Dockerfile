# The service alone: an image needs DATABASE_URL, the embedded PostgreSQL is not in it.
ARG BASE_IMAGE=python:3.12-slim
FROM ${BASE_IMAGE}

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore

WORKDIR /srv/trade-recon

# Dependencies first: this layer is built again only when they change.
COPY requirements/runtime.txt requirements/build.txt requirements/
RUN pip install --require-hashes -r requirements/runtime.txt -r requirements/build.txt

COPY pyproject.toml LICENSE ./
COPY app app
COPY db db
RUN pip install --no-deps --no-build-isolation --no-index . \
    && rm -rf app db

# A number, so that an orchestrator can see that it is not root; no account is needed for it.
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
# On loopback alone, since callers are not authenticated: a proxy that does so shares the container's network (a sidecar).
CMD ["trade-recon", "serve", "--host", "127.0.0.1", "--port", "8000"]
