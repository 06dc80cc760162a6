/* A load client for HTTP/1.1: keep-alive connections on one thread, each with one request under way.
 *
 * httpload HOST PORT PATH CONNECTIONS SECONDS  ->  "count elapsed_s p50_ms p99_ms" (a quarter of the time warms up)
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 16384, EVENTS = 256 };

struct connection {
    int file;
    size_t held;
    double sent;
    char buffer[ROOM + 1];
};

static double *took;
static size_t count, room;

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int compare(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Whether one whole answer is held. */
static int complete(struct connection *c) {
    c->buffer[c->held] = 0;
    char *end = strstr(c->buffer, "\r\n\r\n");
    if (end == NULL) return 0;
    for (char *line = c->buffer; line < end; line = strstr(line, "\r\n") + 2) {
        if (strncasecmp(line, "content-length:", 15) == 0)
            return c->held >= (size_t)(end - c->buffer) + 4 + (size_t)strtoul(line + 15, NULL, 10);
    }
    return c->held >= 5 && memcmp(c->buffer + c->held - 5, "0\r\n\r\n", 5) == 0;
}

int main(int argc, char **argv) {
    if (argc != 6) return 2;
    int connections = atoi(argv[4]);
    double seconds = atof(argv[5]);
    char request[2048];
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s:%s\r\n\r\n", argv[3], argv[1], argv[2]);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[2]))};
    if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) return 2;
    struct connection *all = calloc((size_t)connections, sizeof *all);
    room = 1 << 22;
    took = malloc(room * sizeof *took);
    int poll = epoll_create1(0), one = 1;
    if (all == NULL || took == NULL || poll < 0) fail("start");
    for (int n = 0; n < connections; n++) {
        struct connection *c = &all[n];
        c->file = socket(AF_INET, SOCK_STREAM, 0);
        if (c->file < 0 || connect(c->file, (struct sockaddr *)&address, sizeof address) < 0) fail("connect");
        setsockopt(c->file, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(poll, EPOLL_CTL_ADD, c->file, &event);
        c->sent = now();
        if (write(c->file, request, (size_t)length) != length) fail("write");
    }
    double begin = now() + seconds / 4, end = begin + seconds, at = 0;
    int counting = 0;
    while ((at = now()) < end) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(poll, events, EVENTS, 100);
        if (!counting && at >= begin) {
            counting = 1;
            begin = at;
        }
        for (int n = 0; n < ready; n++) {
            struct connection *c = events[n].data.ptr;
            ssize_t got = read(c->file, c->buffer + c->held, ROOM - c->held);
            if (got <= 0) fail("the server closed a connection");
            c->held += (size_t)got;
            if (!complete(c)) {
                if (c->held == ROOM) fail("the answer is too long");
                continue;
            }
            if (strncmp(c->buffer, "HTTP/1.1 200", 12) != 0) {
                fprintf(stderr, "the server answered %.200s\n", c->buffer);
                return 1;
            }
            at = now();
            if (counting && count < room) took[count++] = at - c->sent;
            c->held = 0;
            c->sent = at;
            if (write(c->file, request, (size_t)length) != length) fail("write");
        }
    }
    if (count < 2) return 1;
    qsort(took, count, sizeof *took, compare);
    printf("%zu %f %f %f\n", count, at - begin, took[count / 2] * 1e3, took[count * 99 / 100] * 1e3);
    return 0;
}
