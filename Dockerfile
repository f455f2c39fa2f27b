FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements/server.txt requirements/
RUN python -m venv /opt/disco && /opt/disco/bin/pip install --no-cache-dir --require-hashes -r requirements/server.txt
COPY pyproject.toml README.md LICENSE ./
COPY disco disco
COPY tasks tasks
RUN /opt/disco/bin/pip install --no-cache-dir --no-deps .

FROM python:3.13-slim
COPY --from=build /opt/disco /opt/disco
RUN useradd --system --uid 10001 --home-dir /data --create-home disco
USER disco
WORKDIR /data
ENV PATH=/opt/disco/bin:$PATH DISCO_HOST=0.0.0.0 DISCO_PORT=8080 DISCO_DATA_DIR=/data PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
CMD ["disco", "serve"]
