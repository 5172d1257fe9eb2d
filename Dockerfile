# The server over HTTP for several people: see docs/http.md.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml hatch_build.py README.md LICENSE SKILL.md ./
COPY tikhub_mcp ./tikhub_mcp
RUN python -m venv /opt/tikhub && /opt/tikhub/bin/pip install --no-cache-dir ".[xlsx,report]"

FROM python:3.13-slim
COPY --from=build /opt/tikhub /opt/tikhub
RUN useradd --uid 10001 --home-dir /data --create-home tikhub
# Everything that is written goes to the volume, temporary files too, so that the rest can be read-only.
ENV PATH=/opt/tikhub/bin:/usr/local/bin:/usr/bin:/bin HOME=/data TMPDIR=/data TIKHUB_OUTPUT_DIR=/data TIKHUB_HTTP_HOST=0.0.0.0
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('TIKHUB_HTTP_PORT') or 8000), timeout=4); c.request('GET', '/health'); sys.exit(c.getresponse().status != 200)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["tikhub-mcp"]
CMD ["serve"]
