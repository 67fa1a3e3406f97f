/* The upstream: an OpenAI-compatible endpoint that streams numbered tokens, "~STREAM.TOKEN~". */

#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

static const char HEAD[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
#define OPENING                                                                                             \
    "data: {\"id\":\"chatcmpl-CcDvqW1XpzK3mTn8sUfRb6hYgE2Ja\",\"object\":\"chat.completion.chunk\","      \
    "\"created\":1764460800,\"model\":\"gpt-4o-mini-2024-07-18\",\"system_fingerprint\":\"fp_560af6e559\"," \
    "\"choices\":["
static const char END[] = OPENING "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n" OPENING
    "],\"usage\":{\"prompt_tokens\":30,\"completion_tokens\":300,\"total_tokens\":330}}\n\ndata: [DONE]\n\n";

struct upstream {
    struct source source;
    int stream; /* -1 between two requests */
    char request[REQUEST_BYTES];
    size_t received;
    char *unsent; /* not accepted by the socket yet */
    size_t unsent_bytes, unsent_room;
};

static int answering;

int upstream_open(void) { return answering; }

int upstream_listen(void) {
    static struct source listener = {LISTENER, -1};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    listener.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(listener.fd, (struct sockaddr *)&address, length) || listen(listener.fd, 4096)) fail("listen");
    getsockname(listener.fd, (struct sockaddr *)&address, &length);
    watch(&listener, EPOLLIN, true);
    return ntohs(address.sin_port);
}

void upstream_accept(struct source *listener) {
    int fd;
    while ((fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct upstream *upstream = calloc(1, sizeof *upstream);
        if (!upstream) fail("calloc");
        upstream->source = (struct source){UPSTREAM, fd};
        upstream->stream = -1;
        watch(&upstream->source, EPOLLIN, true);
    }
}

static void close_upstream(struct upstream *upstream) {
    if (upstream->stream >= 0) {
        struct stream *stream = &streams[upstream->stream];
        stream->upstream = NULL;
        answering--;
        if (stream->gone_at) {
            add_delay(now() - stream->gone_at);
            result.left++;
        } else if (plan.mode != HELD) {
            result.faults++;
        }
    }
    close(upstream->source.fd);
    free(upstream->unsent);
    free(upstream);
}

void upstream_close_all(void) {
    for (int number = 0; number < MOST_STREAMS; number++) {
        if (streams[number].upstream) close_upstream(streams[number].upstream);
    }
}

/* The socket is writable again. */
static void send_rest(struct upstream *upstream) {
    ssize_t written = send(upstream->source.fd, upstream->unsent, upstream->unsent_bytes, MSG_NOSIGNAL);
    if (written < 0 && errno != EAGAIN) {
        close_upstream(upstream);
        return;
    }
    if (written > 0) {
        upstream->unsent_bytes -= (size_t)written;
        memmove(upstream->unsent, upstream->unsent + written, upstream->unsent_bytes);
    }
    if (!upstream->unsent_bytes) watch(&upstream->source, EPOLLIN, false);
}

static void put(struct upstream *upstream, const char *data, size_t length) {
    if (upstream->unsent_bytes + length > upstream->unsent_room) {
        upstream->unsent_room = 2 * (upstream->unsent_bytes + length);
        upstream->unsent = realloc(upstream->unsent, upstream->unsent_room);
        if (!upstream->unsent) fail("realloc");
    }
    memcpy(upstream->unsent + upstream->unsent_bytes, data, length);
    upstream->unsent_bytes += length;
}

static void put_chunk(struct upstream *upstream, const char *data, size_t length) {
    char size[16];
    put(upstream, size, (size_t)sprintf(size, "%zx\r\n", length));
    put(upstream, data, length);
    put(upstream, "\r\n", 2);
}

/* Tries to send directly, which usually saves an epoll call. */
static void send_unsent(struct upstream *upstream) {
    ssize_t written = send(upstream->source.fd, upstream->unsent, upstream->unsent_bytes, MSG_NOSIGNAL);
    if (written == (ssize_t)upstream->unsent_bytes) {
        upstream->unsent_bytes = 0;
        return;
    }
    if (written > 0) {
        upstream->unsent_bytes -= (size_t)written;
        memmove(upstream->unsent, upstream->unsent + written, upstream->unsent_bytes);
    }
    watch(&upstream->source, EPOLLIN | EPOLLOUT, false); /* send_rest handles errors */
}

void upstream_send_tokens(int number, int count) {
    struct stream *stream = &streams[number];
    struct upstream *upstream = stream->upstream;
    if (!upstream) return;
    for (; count && stream->sent < plan.tokens; count--) {
        char event[512];
        int length = sprintf(
            event, OPENING "{\"index\":0,\"delta\":{\"content\":\"~%d.%d~\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n",
            number, stream->sent);
        stream->sent_at[stream->sent++] = now();
        put_chunk(upstream, event, (size_t)length);
    }
    if (stream->sent == plan.tokens) {
        put_chunk(upstream, END, sizeof END - 1);
        put(upstream, "0\r\n\r\n", 5);
        stream->upstream = NULL;
        upstream->stream = -1;
        answering--;
    }
    send_unsent(upstream);
}

/* The request is complete: begin the answer of the stream named by its last "stream 000000". */
static void begin(struct upstream *upstream) {
    const char *place = NULL;
    for (const char *found = upstream->request; (found = strstr(found, "stream 0")); found++) place = found + 7;
    int number = place ? atoi(place) : -1;
    if (number < 0 || number >= plan.streams || streams[number].upstream) {
        result.faults++;
        close_upstream(upstream);
        return;
    }
    upstream->stream = number;
    upstream->received = 0;
    streams[number].upstream = upstream;
    streams[number].sent = 0;
    answering++;
    put(upstream, HEAD, sizeof HEAD - 1);
    upstream_send_tokens(number, 1);
}

void upstream_ready(struct source *source, uint32_t events) {
    struct upstream *upstream = (struct upstream *)source;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        ssize_t length = recv(source->fd, upstream->request + upstream->received,
                              REQUEST_BYTES - 1 - upstream->received, 0);
        if (length == 0 || (length < 0 && errno != EAGAIN)) {
            close_upstream(upstream);
            return;
        }
        if (length > 0) {
            upstream->received += (size_t)length;
            upstream->request[upstream->received] = 0;
            char *body = strstr(upstream->request, "\r\n\r\n");
            const char *field = strcasestr(upstream->request, "\r\ncontent-length:");
            if (body && field) {
                size_t whole = (size_t)(body + 4 - upstream->request) + (size_t)atol(field + 17);
                if (upstream->received >= whole) {
                    begin(upstream);
                    return;
                }
            }
        }
    }
    if (events & EPOLLOUT) send_rest(upstream);
}
