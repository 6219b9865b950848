# The image of every steerd process. Build: `make image`. Run: see packaging/README.md.
#
# The first stage resolves nothing: every package comes with a hash from the lock files, and the checkout is built offline.

FROM python:3.12-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

COPY requirements.lock requirements-build.lock ./
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --no-deps --require-hashes --requirement requirements-build.lock \
    && python -m venv --without-pip /opt/steerd \
    && /opt/build/bin/pip --python /opt/steerd/bin/python \
       install --no-deps --require-hashes --only-binary :all: --requirement requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY probes probes
COPY steerd steerd
RUN /opt/build/bin/python -m hatchling build --target wheel --directory /dist \
    && /opt/build/bin/pip --python /opt/steerd/bin/python install --no-deps --no-index /dist/*.whl \
    && /opt/steerd/bin/python -m compileall -q /opt/steerd/lib


FROM python:3.12-slim-bookworm

LABEL org.opencontainers.image.title="steerd" \
      org.opencontainers.image.description="Health checks and global traffic steering for AI model endpoints" \
      org.opencontainers.image.licenses="Apache-2.0"

# No compiler comes with the slim base; pip goes, so that nothing can be installed into a running container.
RUN groupadd --system --gid 10001 steerd \
    && useradd --system --uid 10001 --gid steerd --no-create-home --home-dir /var/lib/steerd --shell /usr/sbin/nologin steerd \
    && install --directory --owner=steerd --group=steerd --mode=0750 /var/lib/steerd /run/steerd /etc/steerd \
    && python -m pip uninstall --yes --quiet --root-user-action=ignore pip

COPY --from=build /opt/steerd /opt/steerd
COPY packaging/healthcheck.py /opt/steerd/healthcheck.py

ENV PATH=/opt/steerd/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    STEERD_CONFIG=/etc/steerd/steerd.yaml

# All that is written goes here, so the root filesystem can be read-only (docker run --read-only).
VOLUME ["/var/lib/steerd", "/run/steerd"]
WORKDIR /var/lib/steerd
USER 10001:10001
EXPOSE 7443

STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["/opt/steerd/bin/python", "-I", "/opt/steerd/healthcheck.py"]

ENTRYPOINT ["steerd"]
CMD ["run"]
