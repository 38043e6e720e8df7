/* Streams: `connections` of them, each with `depth` messages of `size` bytes in flight.
 *
 * Each connection starts at its own position in the pattern, so a reply on the wrong connection is detected too.
 * Offsets count from the first byte of the connection, in both directions. A message is complete when the received
 * offset passes its end, independent of the chunks.
 */
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct connection {
    int fd;
    bool stuck;         /* a write was short: waiting for EPOLLOUT */
    uint64_t place;     /* position of its offset 0 in the pattern */
    uint64_t sent;      /* offsets: written so far, to be written, compared so far */
    uint64_t allowed;
    uint64_t received;
    uint64_t first;     /* the offset of the first message */
    uint64_t issued;    /* messages */
    uint64_t done;
    uint64_t *stamps;   /* when each message in flight was issued, by its number modulo depth */
};

static const uint64_t SECOND = 1000000000u;
enum { READ = 256 * 1024, ENDING = 3, A_SOURCE = 500 };

static struct connection *connections;
static int ep;
static unsigned char buffer[READ];

static void watch(unsigned index, int operation, unsigned events)
{
    struct epoll_event event = {.events = events, .data.u32 = index};

    if (epoll_ctl(ep, operation, connections[index].fd, &event) < 0)
        fail("epoll_ctl: %s", strerror(errno));
}

static void push(unsigned index)
{
    struct connection *c = &connections[index];

    while (c->sent < c->allowed) {
        uint64_t left = c->allowed - c->sent;
        size_t n = left < SPAN ? (size_t)left : SPAN;
        ssize_t r = send(c->fd, pattern + (c->place + c->sent) % PERIOD, n, MSG_NOSIGNAL);
        if (r < 0 && errno != EAGAIN)
            fail("connection %u: send: %s", index, strerror(errno));
        if (r > 0)
            c->sent += (uint64_t)r;
        if (r < 0 || (size_t)r < n)
            break;
    }
    bool stuck = c->sent < c->allowed;
    if (stuck != c->stuck) {
        c->stuck = stuck;
        watch(index, EPOLL_CTL_MOD, EPOLLIN | (stuck ? EPOLLOUT : 0u));
    }
}

static void issue(unsigned index, unsigned count, uint64_t now)
{
    struct connection *c = &connections[index];

    for (unsigned i = 0; i < count; i++)
        c->stamps[c->issued++ % opt.depth] = now;
    c->allowed += (uint64_t)count * opt.size;
    outstanding += count;
    push(index);
}

/* Receives pending data; returns how many messages it completed. */
static unsigned pull(unsigned index, uint64_t *now)
{
    struct connection *c = &connections[index];
    unsigned count = 0;
    ssize_t r = recv(c->fd, buffer, sizeof buffer, 0);

    if (r < 0 && errno == EAGAIN)
        return 0;
    if (r < 0)
        fail("connection %u: recv: %s", index, strerror(errno));
    if (r == 0)
        fail("connection %u was closed by the server after %llu bytes", index, (unsigned long long)c->received);
    if (c->received + (uint64_t)r > c->sent)
        fail("wrong byte: connection %u: received more than was sent", index);
    verify(buffer, (size_t)r, c->place + c->received, "connection", index);
    c->received += (uint64_t)r;
    uint64_t whole = (c->received - c->first) / opt.size;
    if (c->done < whole) {
        *now = now_ns();
        for (; c->done < whole; c->done++, count++)
            latency_add(*now - c->stamps[c->done % opt.depth]);
        outstanding -= count;
    }
    return count;
}

/* Shuts down sending; the server must close too. Bytes that arrive now are an error. */
static void finish(void)
{
    uint64_t until = now_ns() + ENDING * SECOND;
    unsigned open = 0;

    for (unsigned i = 0; i < opt.connections; i++)
        shutdown(connections[i].fd, SHUT_WR);
    for (unsigned i = 0; i < opt.connections; i++) {
        uint64_t now = now_ns();
        struct pollfd p = {.fd = connections[i].fd, .events = POLLIN};
        if (poll(&p, 1, now < until ? (int)((until - now) / 1000000u) : 0) == 1) {
            ssize_t r = recv(p.fd, buffer, sizeof buffer, 0);
            if (r > 0)
                fail("wrong byte: connection %u: %zd bytes too many at its end", i, r);
            open += r < 0;
        } else {
            open++;
        }
        close(p.fd);
    }
    if (open > 0)
        fail("%u of %u connections were not closed within %d s of our FIN", open, opt.connections, ENDING);
}

void stream_mode(void)
{
    connections = allocate(opt.connections, sizeof *connections);
    ep = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned i = 0; i < opt.connections; i++) {
        struct connection *c = &connections[i];
        c->fd = dial(opt.connections > A_SOURCE ? 0x010001u + i / A_SOURCE : 0);
        c->place = (uint64_t)i * 7919u;
        c->stamps = allocate(opt.depth, sizeof *c->stamps);
        if (i % SETTLE_EVERY == SETTLE_EVERY - 1) {
            settle(c->fd, c->place, i);
            c->sent = c->allowed = c->received = c->first = 1;
        }
        if (fcntl(c->fd, F_SETFL, O_NONBLOCK) < 0)
            fail("fcntl: %s", strerror(errno));
        watch(i, EPOLL_CTL_ADD, EPOLLIN);
    }
    const struct flows flows = {ep, issue, push, pull};
    closed_loop(&flows, opt.warm);
    slice_begin();
    slice_report(closed_loop(&flows, opt.seconds), 0);
    finish();
}
