# salesfx: `docker build -t salesfx:0.1.0 .`; health checks are in docker-compose.yml, for only `serve` has a port.

FROM python:3.13.14-slim-trixie AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY salesfx ./salesfx
COPY streams ./streams
# `--build-arg EXTRAS=archive` for `salesfx archive`, several with commas.
ARG EXTRAS=
# Into an environment of its own, so that the image that runs carries neither sources nor tools to build them.
RUN python -m venv /opt/salesfx \
    && pip wheel --no-cache-dir --no-deps --wheel-dir /dist . \
    && /opt/salesfx/bin/pip install --no-cache-dir "$(echo /dist/*.whl)${EXTRAS:+[$EXTRAS]}"

FROM python:3.13.14-slim-trixie
# Logs come when they are written, not when a buffer is full.
ENV PATH=/opt/salesfx/bin:$PATH \
    PYTHONUNBUFFERED=1
COPY --from=build /opt/salesfx /opt/salesfx
# Faust makes a folder where it starts: the one place that is writable when the root is read-only.
WORKDIR /tmp
# A number, so that "must not run as root" can be checked without the image's list of users.
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["salesfx"]
