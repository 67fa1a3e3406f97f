/* Prints the upstream's port. Then, for each line of stdin, "MODE STREAMS TOKENS RATE QUESTIONS SECONDS PORT PLACE FILE",
 * prints "begun" once every stream has its first token, waits for another line, and prints the results as JSON.
 *
 * FILE holds a complete HTTP request. The six digits at PLACE are replaced with the stream's number. An answer ends when
 * its last token and the end of its body have arrived, or after SECONDS.
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include "load.h"

enum { ASKED_AT_ONCE = 40, EVENTS = 512, LEAVE_EVERY = 20000000 /* ns */ };

struct plan plan;
struct result result;
struct stream streams[MOST_STREAMS];
int epoll;

static const char *const MODES[] = {"lockstep", "burst", "questions", "paced", "held", "leaving"};
static int64_t asked_at[MOST_STREAMS];
static uint32_t first_delays[MOST_STREAMS]; /* microseconds from the question to its first token */
static int asked, begun, ended;

int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

void fail(const char *what) {
    perror(what);
    exit(1);
}

void add_delay(int64_t nanoseconds) { result.delays[result.delays_count++] = (uint32_t)(nanoseconds / 1000); }

void watch(struct source *source, uint32_t events, bool is_new) {
    struct epoll_event event = {.events = events, .data.ptr = source};
    if (epoll_ctl(epoll, is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, source->fd, &event)) fail("epoll_ctl");
}

void nonblocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

static void ask(int stream) {
    asked++;
    asked_at[stream] = now();
    visitor_ask(stream);
}

void token_arrived(int stream, int token) {
    result.tokens++;
    if (token == 0) {
        first_delays[begun % MOST_STREAMS] = (uint32_t)((now() - asked_at[stream]) / 1000);
        begun++;
        if (plan.mode != QUESTIONS && asked < plan.streams) ask(asked);
        return;
    }
    if (plan.mode != HELD && plan.mode != LEAVING) add_delay(now() - streams[stream].sent_at[token]);
    if (plan.mode == LOCKSTEP) upstream_send_tokens(stream, 1);
}

void answer_ended(int stream, bool whole) {
    ended++;
    if (whole) result.answers++;
    else result.faults++;
    if (plan.mode == QUESTIONS && asked < plan.questions) ask(stream);
}

/* One iteration of the loop, which waits until `until` at most. */
static void turn(int64_t until) {
    int64_t left = until - now();
    struct timespec timeout = {left > 0 ? left / 1000000000 : 0, left > 0 ? left % 1000000000 : 0};
    struct pollfd waiting = {epoll, POLLIN, 0};
    if (ppoll(&waiting, 1, &timeout, NULL) <= 0) return;
    struct epoll_event events[EVENTS];
    int count = epoll_wait(epoll, events, EVENTS, 0);
    for (int at = 0; at < count; at++) {
        struct source *source = events[at].data.ptr;
        if (source->kind == LISTENER) upstream_accept(source);
        else if (source->kind == UPSTREAM) upstream_ready(source, events[at].events);
        else visitor_ready(source, events[at].events);
    }
}

/* The streams take turns, so that their tokens are evenly spread. The next token is due at `next`. */
static void run_paced(int64_t deadline) {
    int64_t start = now(), step = 1000000000LL / plan.rate / plan.streams;
    int64_t count = 0, left = 0, all = (int64_t)plan.streams * (plan.tokens - 1);
    while ((plan.mode == PACED ? ended : result.left) < plan.streams && now() < deadline) {
        int64_t next = start + count * step, leave = start + left * LEAVE_EVERY;
        while (count < all && next <= now()) {
            if (now() - next > result.late) result.late = now() - next;
            upstream_send_tokens((int)(count++ % plan.streams), 1);
            next = start + count * step;
        }
        if (plan.mode == LEAVING && left < plan.streams && leave <= now()) visitor_leave((int)left++);
        int64_t wake = count < all ? next : deadline;
        turn(plan.mode == LEAVING && left < plan.streams && leave < wake ? leave : wake);
    }
}

static void run(double seconds) {
    char line[16];
    asked = begun = ended = 0;
    int64_t deadline = now() + (int64_t)(seconds * 1e9);
    if (plan.mode == QUESTIONS) {
        puts("begun");
        if (!fgets(line, sizeof line, stdin)) exit(0);
        for (int stream = 0; stream < plan.streams; stream++) ask(stream);
        while (ended < plan.questions && now() < deadline) turn(deadline);
        return;
    }
    while (asked < plan.streams && asked < ASKED_AT_ONCE) ask(asked);
    while (begun + ended < plan.streams && now() < deadline) turn(deadline);
    puts("begun");
    if (!fgets(line, sizeof line, stdin)) exit(0);
    deadline = now() + (int64_t)(seconds * 1e9);
    if (plan.mode == PACED || plan.mode == LEAVING) {
        run_paced(deadline);
        return;
    }
    for (int token = 1; token < (plan.mode == BURST ? plan.tokens : 2); token++) {
        for (int stream = 0; stream < plan.streams; stream++) upstream_send_tokens(stream, 1);
        if (plan.mode == BURST) turn(0);
    }
    while (ended < plan.streams && now() < deadline) turn(deadline);
}

static int compare(const void *one, const void *other) {
    uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;
    return (a > b) - (a < b);
}

/* In milliseconds. */
static double percentile(uint32_t *delays, size_t count, int percent) {
    qsort(delays, count, sizeof *delays, compare);
    return count ? delays[(count - 1) * (size_t)percent / 100] / 1000.0 : 0;
}

static void report(double seconds) {
    uint32_t *delays = result.delays;
    size_t count = result.delays_count, first = (size_t)(begun < MOST_STREAMS ? begun : MOST_STREAMS);
    printf("{\"tokens\": %lld, \"answers\": %d, \"faults\": %d, \"left\": %d, \"seconds\": %.4f, \"late_ms\": %.3f, "
           "\"p50_ms\": %.3f, \"p99_ms\": %.3f, \"worst_ms\": %.3f, \"first_p50_ms\": %.3f}\n",
           (long long)result.tokens, result.answers, result.faults, result.left, seconds, (double)result.late / 1e6,
           percentile(delays, count, 50), percentile(delays, count, 99), percentile(delays, count, 100),
           percentile(first_delays, first, 50));
}

static bool read_plan(const char *line, double *seconds) {
    char mode[16], path[4096];
    size_t place;
    if (sscanf(line, "%15s %d %d %d %d %lf %d %zu %4095s", mode, &plan.streams, &plan.tokens, &plan.rate,
               &plan.questions, seconds, &plan.port, &place, path) != 9)
        return false;
    int number = 0;
    while (number <= LEAVING && strcmp(mode, MODES[number])) number++;
    if (number > LEAVING || plan.streams > MOST_STREAMS || plan.tokens > MOST_TOKENS) return false;
    plan.mode = (enum mode)number;
    char request[REQUEST_BYTES];
    FILE *file = fopen(path, "rb");
    if (!file) fail(path);
    visitors_use(request, fread(request, 1, sizeof request, file), place);
    fclose(file);
    return true;
}

int main(void) {
    char line[8192];
    double seconds;
    setvbuf(stdout, NULL, _IOLBF, 0);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    printf("%d\n", upstream_listen());
    while (fgets(line, sizeof line, stdin)) {
        if (!read_plan(line, &seconds)) {
            fprintf(stderr, "not understood: %s", line);
            return 1;
        }
        free(result.delays);
        result = (struct result){0};
        result.delays = malloc(((size_t)plan.streams * (size_t)plan.tokens + MOST_STREAMS) * sizeof *result.delays);
        for (int stream = 0; stream < plan.streams; stream++) {
            streams[stream].upstream = NULL;
            streams[stream].gone_at = 0;
            streams[stream].sent = 0;
        }
        int64_t start = now();
        run(seconds);
        report((double)(now() - start) / 1e9);
        visitor_forget_all();
        int64_t patience = now() + 5000000000LL; /* until the relay has closed what is still open */
        while (upstream_open() && now() < patience) turn(patience);
        upstream_close_all();
    }
    return 0;
}
