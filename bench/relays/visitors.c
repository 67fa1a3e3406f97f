/* The visitors. Each has its own connection and checks the content and order of every token. */

#define _GNU_SOURCE
#include <ctype.h>
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

enum { HEAD_BYTES = 8192, PIECE_BYTES = 262144 };

struct visitor {
    struct source source;
    int expected; /* the next token */
    char head[HEAD_BYTES];
    size_t head_bytes;
    enum { STATUS, CHUNK_SIZE, CHUNK, CHUNK_END, LAST_LINE, OVER } place;
    size_t chunk_left;
    enum { OUTSIDE, STREAM, TOKEN } scanning;
    int scanned[2];
};

static struct visitor visitors[MOST_STREAMS];
static char request[REQUEST_BYTES];
static size_t request_bytes, number_at;

void visitors_use(const char *data, size_t length, size_t place) {
    memcpy(request, data, length);
    request_bytes = length;
    number_at = place;
}

static void hang_up(struct visitor *visitor) {
    if (visitor->source.fd > 0) close(visitor->source.fd);
    visitor->source.fd = 0;
}

static void end(struct visitor *visitor, bool whole) {
    visitor->place = OVER;
    if (!whole) hang_up(visitor);
    answer_ended((int)(visitor - visitors), whole);
}

void visitor_ask(int stream) {
    struct visitor *visitor = &visitors[stream];
    int fd = visitor->source.fd;
    if (!fd) {
        struct sockaddr_in address = {
            .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)plan.port)};
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (connect(fd, (struct sockaddr *)&address, sizeof address)) {
            close(fd);
            end(visitor, false);
            return;
        }
        nonblocking(fd);
        visitor->source = (struct source){VISITOR, fd};
        watch(&visitor->source, EPOLLIN, true);
    }
    visitor->expected = 0;
    visitor->head_bytes = 0;
    visitor->place = STATUS;
    visitor->scanning = OUTSIDE;
    char number[7];
    snprintf(number, sizeof number, "%06d", stream);
    memcpy(request + number_at, number, 6);
    if (send(fd, request, request_bytes, MSG_NOSIGNAL) != (ssize_t)request_bytes) end(visitor, false);
}

void visitor_leave(int stream) {
    streams[stream].gone_at = now();
    visitors[stream].place = OVER;
    hang_up(&visitors[stream]);
}

void visitor_forget_all(void) {
    for (int number = 0; number < MOST_STREAMS; number++) hang_up(&visitors[number]);
}

/* The head is complete once it holds an empty line. Only a chunked 200 response counts as an answer. */
static bool head_ends(struct visitor *visitor) {
    if (visitor->head_bytes < 4 || memcmp(visitor->head + visitor->head_bytes - 4, "\r\n\r\n", 4)) return false;
    visitor->head[visitor->head_bytes] = 0;
    return true;
}

static void scan(struct visitor *visitor, const char *data, size_t length) {
    for (const char *at = data, *stop = data + length; at < stop; at++) {
        switch (visitor->scanning) {
        case OUTSIDE:
            at = memchr(at, '~', (size_t)(stop - at));
            if (!at) return;
            visitor->scanned[0] = visitor->scanned[1] = 0;
            visitor->scanning = STREAM;
            break;
        case STREAM:
            if (isdigit((unsigned char)*at)) visitor->scanned[0] = 10 * visitor->scanned[0] + *at - '0';
            else if (*at == '.') visitor->scanning = TOKEN;
            else result.faults++, visitor->scanning = OUTSIDE;
            break;
        case TOKEN:
            if (isdigit((unsigned char)*at)) {
                visitor->scanned[1] = 10 * visitor->scanned[1] + *at - '0';
                break;
            }
            visitor->scanning = OUTSIDE;
            int stream = (int)(visitor - visitors);
            if (*at != '~' || visitor->scanned[0] != stream || visitor->scanned[1] != visitor->expected) {
                result.faults++;
            } else {
                token_arrived(stream, visitor->expected++);
            }
        }
    }
}

/* RFC 9112, section 7.1. */
static void read_body(struct visitor *visitor, const char *data, size_t length) {
    for (size_t at = 0; at < length && visitor->place != OVER;) {
        char byte = data[at];
        switch (visitor->place) {
        case CHUNK_SIZE:
            at++;
            if (isxdigit((unsigned char)byte)) {
                int digit = isdigit((unsigned char)byte) ? byte - '0' : (byte | 32) - 'a' + 10;
                visitor->chunk_left = 16 * visitor->chunk_left + (size_t)digit;
            } else if (byte == '\n') {
                visitor->place = visitor->chunk_left ? CHUNK : LAST_LINE;
            } else if (byte != '\r') {
                end(visitor, false);
            }
            break;
        case CHUNK: {
            size_t piece = length - at < visitor->chunk_left ? length - at : visitor->chunk_left;
            visitor->chunk_left -= piece;
            if (!visitor->chunk_left) visitor->place = CHUNK_END;
            scan(visitor, data + at, piece);
            at += piece;
            break;
        }
        case CHUNK_END:
            at++;
            if (byte == '\n') visitor->place = CHUNK_SIZE;
            break;
        default:
            at++;
            if (byte == '\n') end(visitor, visitor->expected == plan.tokens);
        }
    }
}

void visitor_ready(struct source *source, uint32_t events) {
    static char piece[PIECE_BYTES];
    struct visitor *visitor = (struct visitor *)source;
    (void)events;
    if (!source->fd) return; /* it left in the same iteration */
    ssize_t length = recv(source->fd, piece, sizeof piece, 0);
    if (length < 0 && errno == EAGAIN) return;
    if (length <= 0) {
        if (visitor->place == OVER) hang_up(visitor); /* an idle connection */
        else end(visitor, false);
        return;
    }
    size_t at = 0;
    while (visitor->place == STATUS && at < (size_t)length && visitor->head_bytes < HEAD_BYTES - 1) {
        visitor->head[visitor->head_bytes++] = piece[at++];
        if (piece[at - 1] != '\n' || !head_ends(visitor)) continue;
        visitor->place = CHUNK_SIZE;
        visitor->chunk_left = 0;
        if (memcmp(visitor->head, "HTTP/1.1 200", 12) || !strcasestr(visitor->head, "transfer-encoding: chunked")) {
            fprintf(stderr, "%.300s\n%.*s\n", visitor->head, (int)(length - (ssize_t)at), piece + at);
            end(visitor, false);
            return;
        }
    }
    read_body(visitor, piece + at, (size_t)length - at);
}
