/* The load generator of bench/relay.py: the upstream and the visitors in one epoll loop, so that one clock times both. */

#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MOST_STREAMS = 4096, MOST_TOKENS = 4096, REQUEST_BYTES = 65536 };

/* The target of an epoll event: the upstream's listener, one of its connections, or a visitor. */
enum kind { LISTENER, UPSTREAM, VISITOR };
struct source {
    enum kind kind;
    int fd;
};

/* One stream of tokens, from the upstream's connection to the visitor's. */
struct stream {
    int64_t sent_at[MOST_TOKENS]; /* nanoseconds */
    struct upstream *upstream;    /* NULL before the request has arrived and after the response is over */
    int sent;                     /* tokens */
    int64_t gone_at;              /* when the visitor left */
};

/* The parameters of a measurement. */
enum mode { LOCKSTEP, BURST, QUESTIONS, PACED, HELD, LEAVING };
struct plan {
    enum mode mode;
    int streams;
    int tokens;    /* of each answer */
    int rate;      /* tokens a second of each stream, if paced */
    int questions; /* of all visitors together */
    int port;      /* of the relay */
};

/* The results of a measurement. */
struct result {
    int64_t tokens;   /* that arrived in order */
    int answers;      /* that were complete */
    int faults;       /* wrong content or order, another status, a broken connection */
    int left;         /* visitors whose disconnect has reached the upstream */
    int64_t late;     /* the maximum delay of the load itself, in nanoseconds */
    uint32_t *delays; /* microseconds from sent to arrived, or from a disconnect to its arrival upstream */
    size_t delays_count;
};

extern struct plan plan;
extern struct result result;
extern struct stream streams[MOST_STREAMS];
extern int epoll;

int64_t now(void);
void fail(const char *what);
void add_delay(int64_t nanoseconds);
void watch(struct source *source, uint32_t events, bool is_new);
void nonblocking(int fd);

int upstream_listen(void);
void upstream_accept(struct source *listener);
void upstream_ready(struct source *source, uint32_t events);
void upstream_send_tokens(int stream, int count);
int upstream_open(void); /* responses under way */
void upstream_close_all(void);

void visitors_use(const char *request, size_t length, size_t place);
void visitor_ask(int stream);
void visitor_leave(int stream);
void visitor_ready(struct source *source, uint32_t events);
void visitor_forget_all(void);

/* Called by the visitors. */
void token_arrived(int stream, int token);
void answer_ended(int stream, bool whole);

#endif
