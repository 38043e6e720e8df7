/* WebSocket (RFC 6455): `connections` of them, each with `depth` binary messages of `size` bytes in flight.
 *
 * Each message is one masked frame. The reply must be one frame with the shortest form of its length and the same
 * bytes, so every byte that arrives is known before. At the end each connection is closed with code 1000, and the
 * server must answer that too.
 */
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

struct connection {
    int fd;
    bool stuck;        /* a write was short: waiting for EPOLLOUT */
    uint64_t place;    /* position of its first message in the pattern */
    uint64_t issued;   /* messages */
    uint64_t done;
    uint64_t received; /* bytes of replies */
    uint64_t *stamps;  /* when each message in flight was issued, by its number modulo depth */
    unsigned char *out; /* frames that are not sent yet: `filled` bytes, of which `sent` were sent */
    size_t filled;
    size_t sent;
};

static const uint64_t SECOND = 1000000000u;
static const unsigned char MASK[4] = {0x37, 0xfa, 0x21, 0x3d}; /* that of the example in RFC 6455 5.7 */
enum { READ = 256 * 1024, ENDING = 3, HEAD = 4096, BINARY = 0x82, CLOSE = 0x88 };

static struct connection *connections;
static int ep;
static unsigned char buffer[READ];
static unsigned char reply_head[10];
static size_t reply_head_size;

/* The first bytes of a frame, without a mask; returns how many they are. */
static size_t frame_head(unsigned char *out, size_t size)
{
    size_t extra = size < 126 ? 0 : size < 65536 ? 2 : 8;

    out[0] = BINARY;
    out[1] = (unsigned char)(extra == 0 ? size : extra == 2 ? 126 : 127);
    for (size_t i = 0; i < extra; i++)
        out[2 + i] = (unsigned char)(size >> 8 * (extra - 1 - i));
    return 2 + extra;
}

static void handshake(struct connection *c)
{
    struct timeval patience = {.tv_sec = 10};
    char text[HEAD + 1];
    size_t got = 0;
    int n = snprintf(text, sizeof text,
                     "GET / HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                     opt.host, opt.port);
    unsigned index = (unsigned)(c - connections);

    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (send(c->fd, text, (size_t)n, MSG_NOSIGNAL) != n)
        fail("connection %u: send: %s", index, strerror(errno));
    /* Byte by byte, so that nothing after the head is lost. */
    while (got < 4 || memcmp(text + got - 4, "\r\n\r\n", 4) != 0) {
        if (got == HEAD || recv_restarted(c->fd, text + got, 1) != 1)
            fail("connection %u: no answer to the handshake", index);
        got++;
    }
    text[got] = '\0';
    if (strncmp(text, "HTTP/1.1 101 ", 13) != 0 || strstr(text, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") == NULL)
        fail("connection %u: the handshake was refused: %.40s", index, text);
}

static void watch(unsigned index, int operation, unsigned events)
{
    struct epoll_event event = {.events = events, .data.u32 = index};

    if (epoll_ctl(ep, operation, connections[index].fd, &event) < 0)
        fail("epoll_ctl: %s", strerror(errno));
}

static void push(unsigned index)
{
    struct connection *c = &connections[index];

    ssize_t r = send(c->fd, c->out + c->sent, c->filled - c->sent, MSG_NOSIGNAL);

    if (r < 0 && errno != EAGAIN)
        fail("connection %u: send: %s", index, strerror(errno));
    if (r > 0)
        c->sent += (size_t)r;
    if (c->sent == c->filled)
        c->sent = c->filled = 0;
    bool stuck = c->filled > 0;
    if (stuck != c->stuck) {
        c->stuck = stuck;
        watch(index, EPOLL_CTL_MOD, EPOLLIN | (stuck ? EPOLLOUT : 0u));
    }
}

static void issue(unsigned index, unsigned count, uint64_t now)
{
    struct connection *c = &connections[index];

    if (c->sent > 0) {
        memmove(c->out, c->out + c->sent, c->filled - c->sent);
        c->filled -= c->sent;
        c->sent = 0;
    }
    for (unsigned i = 0; i < count; i++) {
        unsigned char *frame = c->out + c->filled;
        const unsigned char *from = pattern + (c->place + c->issued * opt.size) % PERIOD;
        size_t head = frame_head(frame, opt.size);
        frame[1] |= 0x80;
        memcpy(frame + head, MASK, 4);
        for (size_t k = 0; k < opt.size; k++)
            frame[head + 4 + k] = from[k] ^ MASK[k % 4];
        c->filled += head + 4 + opt.size;
        c->stamps[c->issued++ % opt.depth] = now;
    }
    outstanding += count;
    push(index);
}

/* Receives pending data; returns how many messages it completed. */
static unsigned pull(unsigned index, uint64_t *now)
{
    struct connection *c = &connections[index];
    unsigned count = 0;
    ssize_t r = recv_restarted(c->fd, buffer, sizeof buffer);
    uint64_t whole = reply_head_size + opt.size;

    if (r < 0 && errno == EAGAIN)
        return 0;
    if (r <= 0)
        fail("connection %u: %s", index, r < 0 ? strerror(errno) : "it was closed by the server");
    if (c->received + (uint64_t)r > c->issued * whole)
        fail("wrong byte: connection %u: received more than was sent", index);
    *now = now_ns();
    for (size_t at = 0; at < (size_t)r;) {
        uint64_t within = c->received % whole, left = (size_t)r - at;
        size_t n;
        if (within < reply_head_size) {
            n = reply_head_size - within < left ? reply_head_size - within : left;
            if (memcmp(buffer + at, reply_head + within, n) != 0)
                fail("wrong byte: connection %u: another head of a frame than expected", index);
        } else {
            uint64_t offset = within - reply_head_size;
            n = opt.size - offset < left ? opt.size - offset : left;
            verify(buffer + at, n, (c->place + c->done * opt.size) % PERIOD + offset, "connection", index);
        }
        at += n;
        c->received += n;
        if (c->received % whole == 0) {
            latency_add(*now - c->stamps[c->done++ % opt.depth]);
            count++;
        }
    }
    outstanding -= count;
    return count;
}

/* Closes with code 1000. The server must send exactly its own Close, then its end. */
static void finish(void)
{
    static const unsigned char bye[] = {CLOSE, 0x82, 0, 0, 0, 0, 0x03, 0xe8};
    static const unsigned char answer[] = {CLOSE, 0x02, 0x03, 0xe8};
    uint64_t until = now_ns() + ENDING * SECOND;

    for (unsigned i = 0; i < opt.connections; i++)
        if (send(connections[i].fd, bye, sizeof bye, MSG_NOSIGNAL) != sizeof bye)
            fail("connection %u: send: %s", i, strerror(errno));
    for (unsigned i = 0; i < opt.connections; i++) {
        struct pollfd p = {.fd = connections[i].fd, .events = POLLIN};
        size_t got = 0;
        ssize_t r = 1;
        while (r > 0) {
            uint64_t now = now_ns();
            if (poll(&p, 1, now < until ? (int)((until - now) / 1000000u) : 0) != 1)
                fail("connection %u was not closed within %d s of our Close", i, ENDING);
            r = recv(p.fd, buffer + got, sizeof answer + 1 - got, 0);
            got += r > 0 ? (size_t)r : 0;
            if (got > sizeof answer)
                break;
        }
        if (got != sizeof answer || memcmp(buffer, answer, sizeof answer) != 0)
            fail("wrong byte: connection %u: another answer to Close than expected", i);
        close(p.fd);
    }
}

static void open_all(void)
{
    connections = allocate(opt.connections, sizeof *connections);
    for (unsigned i = 0; i < opt.connections; i++) {
        struct connection *c = &connections[i];
        c->fd = dial(opt.connections > 500 ? 0x030001u + i / 500 : 0);
        c->place = (uint64_t)i * 7919u;
        c->stamps = allocate(opt.depth, sizeof *c->stamps);
        c->out = allocate(opt.depth, opt.size + 14);
        handshake(c);
    }
    reply_head_size = frame_head(reply_head, opt.size);
}

void websocket_mode(void)
{
    if (opt.size > SPAN)
        fail("--size: at most %d bytes for WebSocket", SPAN);
    open_all();
    ep = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned i = 0; i < opt.connections; i++) {
        if (fcntl(connections[i].fd, F_SETFL, O_NONBLOCK) < 0)
            fail("fcntl: %s", strerror(errno));
        watch(i, EPOLL_CTL_ADD, EPOLLIN);
    }
    const struct flows flows = {ep, issue, push, pull};
    closed_loop(&flows, opt.warm);
    slice_begin();
    slice_report(closed_loop(&flows, opt.seconds), 0);
    finish();
}

/* Sends one message on a connection and compares the reply. */
static void exchange(unsigned index)
{
    const struct connection *c = &connections[index];
    uint64_t now = 0;

    issue(index, 1, now_ns());
    while (c->filled > 0)
        push(index);
    while (c->done < c->issued)
        pull(index, &now);
}

void websocket_idle_mode(void)
{
    opt.depth = 1;
    ep = epoll_create1(EPOLL_CLOEXEC);
    open_all();
    for (unsigned i = 0; i < opt.connections; i++)
        watch(i, EPOLL_CTL_ADD, EPOLLIN);
    say("open");
    wait_for_driver();
    for (unsigned i = 0; i < opt.connections; i++)
        exchange(i);
    say("used");
    wait_for_driver();
}
