# One broker, alone unless KAFKA_ZOOKEEPER_CONNECT names a ZooKeeper; any config key can be set as KAFKA_ITS_NAME.
FROM python:3.13-slim AS build
WORKDIR /build
COPY pyproject.toml README.md ./
COPY src src
RUN python -m venv /opt/pykbroker \
 && /opt/pykbroker/bin/pip install --no-cache-dir --disable-pip-version-check '.[oauth,regex]'

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home --home-dir /var/lib/pykbroker pykbroker \
 && install --directory --owner pykbroker /var/lib/pykbroker
COPY --from=build /opt/pykbroker /opt/pykbroker
ENV PATH=/opt/pykbroker/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    KAFKA_LISTENERS=PLAINTEXT://0.0.0.0:9092 \
    KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://localhost:9092
USER pykbroker
VOLUME /var/lib/pykbroker
EXPOSE 9092
HEALTHCHECK --interval=5s --timeout=10s --start-period=30s \
    CMD ["pykbroker", "cluster", "info", "--bootstrap", "127.0.0.1:9092", "--timeout", "5"]
STOPSIGNAL SIGTERM
CMD ["pykbroker", "start", "--data-dir", "/var/lib/pykbroker"]
