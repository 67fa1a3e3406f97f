# Builds what the image runs: the packages without pip, all compiled to bytecode, because the image is read-only.
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /app
COPY deploy/requirements.lock /venv/
RUN python -m venv --without-pip /venv \
    && pip --python /venv/bin/python install --no-cache-dir --require-hashes -r /venv/requirements.lock
COPY chatbot.py manage.py ./
COPY service service
COPY static static
# Readable, whatever the checkout's umask was.
RUN chmod -R a+rX . && python -m compileall -q .

FROM python:3.11.14-slim-bookworm
# /data is writable for any user: a tmpfs mounted there inherits its mode, and some platforms choose the user themselves.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin chatbot \
    && install -d -m 1777 -o chatbot -g chatbot /data
LABEL org.opencontainers.image.title="chatbot" \
      org.opencontainers.image.description="Chat service for OpenAI-compatible providers, with its widget" \
      org.opencontainers.image.version="0.1.0"
COPY --from=build /venv /venv
COPY --from=build /app /app
WORKDIR /app
# Set PUBLIC_URL, the address that browsers use, when you run it; without it, the widget works only on localhost.
# The rest of the root may be read-only: SQLite needs a directory for sorting many rows, and WORKERS one for their metrics.
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=8000 \
    DATABASE_URL=sqlite:////data/chatbot.db \
    SQLITE_TMPDIR=/data \
    TMPDIR=/dev/shm
USER 10001
VOLUME /data
EXPOSE 8000
# The health check uses the loopback interface, without any proxy, and Python, so that the image needs no curl.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["python", "-Ic", "import os, http.client as h; c = h.HTTPConnection('127.0.0.1', os.environ['PORT'], timeout=2); c.request('GET', '/api/v1/health'); raise SystemExit(c.getresponse().status != 200)"]
STOPSIGNAL SIGTERM
CMD ["python", "chatbot.py"]
