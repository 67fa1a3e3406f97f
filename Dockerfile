FROM python:3.11.14-slim-bookworm AS packages
WORKDIR /packages
COPY requirements.txt .
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --no-compile -r requirements.txt

FROM python:3.11.14-slim-bookworm
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin chatbot \
    && install -d -o chatbot -g chatbot /data
COPY --from=packages /venv /venv
WORKDIR /app
COPY *.py ./
COPY static static
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=8000 \
    DATABASE_URL=sqlite+aiosqlite:////data/chatbot.db
USER 10001
VOLUME /data
EXPOSE 8000
# The health check asks over the loopback with the interpreter that is there anyway: no curl in the image.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/api/v1/health', timeout=2)"]
STOPSIGNAL SIGTERM
CMD ["python", "chatbot.py"]
