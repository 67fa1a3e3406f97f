# What runs is made here: the packages without pip, and everything compiled, because the image's files are never written to.
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /app
COPY deploy/requirements.lock /venv/
RUN python -m venv --without-pip /venv \
    && pip --python /venv/bin/python install --no-cache-dir --require-hashes -r /venv/requirements.lock
COPY chatbot.py manage.py ./
COPY service service
COPY static static
# Readable whatever the umask of the checkout was.
RUN chmod -R a+rX . && python -m compileall -q .

FROM python:3.11.14-slim-bookworm
# /data is for any user: a tmpfs in its place takes on its mode, and some platforms choose the user themselves.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin chatbot \
    && install -d -m 1777 -o chatbot -g chatbot /data
LABEL org.opencontainers.image.title="chatbot" \
      org.opencontainers.image.description="Chat service for OpenAI-compatible providers, with its widget" \
      org.opencontainers.image.version="0.1.0"
COPY --from=build /venv /venv
COPY --from=build /app /app
WORKDIR /app
# PUBLIC_URL, the address that browsers use, is set where it runs: without it the widget works under localhost only.
# SQLite sorts what is large in files of its own, for which a read-only root has no other place.
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=8000 \
    DATABASE_URL=sqlite:////data/chatbot.db \
    SQLITE_TMPDIR=/data
USER 10001
VOLUME /data
EXPOSE 8000
# The health check asks over the loopback, past any proxy, with the interpreter that is there anyway: no curl in the image.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["python", "-Ic", "import os, http.client as h; c = h.HTTPConnection('127.0.0.1', os.environ['PORT'], timeout=2); c.request('GET', '/api/v1/health'); raise SystemExit(c.getresponse().status != 200)"]
STOPSIGNAL SIGTERM
CMD ["python", "chatbot.py"]
