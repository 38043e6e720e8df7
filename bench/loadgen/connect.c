/* Short conversations: connect, send one message, receive the reply, shut down sending, wait for the server's FIN, close.
 *
 * `connections` of them run at once. The side that closes first keeps the port for a minute (TIME_WAIT). That is this
 * side, so the source address moves on through 127.0.0.0/8 after every few thousand.
 */
#include "load.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, PATIENCE = 5, A_SOURCE = 4000 };
static const uint64_t SECOND = 1000000000u;

struct visit {
    int fd;
    enum { CONNECTING, ANSWERING, ENDING } state;
    uint64_t began;
    uint64_t place; /* of its message in the pattern */
    unsigned received;
};

static struct visit *visits;
static int ep;
static unsigned char buffer[65536];
static unsigned at_work;
static uint64_t serial;
static unsigned first_source;

static void watch(struct visit *v, int operation, unsigned events)
{
    struct epoll_event event = {.events = events, .data.u32 = (unsigned)(v - visits)};

    if (epoll_ctl(ep, operation, v->fd, &event) < 0)
        fail("epoll_ctl: %s", strerror(errno));
}

static void begin(struct visit *v)
{
    *v = (struct visit){.began = now_ns(), .place = serial * 7919u};
    v->fd = dial_begin(first_source + (unsigned)(serial++ / A_SOURCE));
    watch(v, EPOLL_CTL_ADD, EPOLLOUT);
    at_work++;
}

/* One step; true when the conversation is complete. */
static bool step(struct visit *v)
{
    unsigned index = (unsigned)(v - visits);

    if (v->state == CONNECTING) {
        int error = 0;
        socklen_t length = sizeof error;
        getsockopt(v->fd, SOL_SOCKET, SO_ERROR, &error, &length);
        if (error != 0)
            fail("connect: %s", strerror(error));
        size_t first = proxy_header(buffer);
        memcpy(buffer + first, pattern + v->place % PERIOD, opt.size);
        if (send(v->fd, buffer, first + opt.size, MSG_NOSIGNAL) != (ssize_t)(first + opt.size))
            fail("conversation %u: send: %s", index, strerror(errno));
        v->state = ANSWERING;
        watch(v, EPOLL_CTL_MOD, EPOLLIN);
        return false;
    }
    ssize_t r = recv(v->fd, buffer, sizeof buffer, 0);
    if (r < 0 && errno == EAGAIN)
        return false;
    if (r < 0)
        fail("conversation %u: recv: %s", index, strerror(errno));
    if (r == 0) {
        if (v->state != ENDING)
            fail("conversation %u was closed by the server after %u of %u bytes", index, v->received, opt.size);
        return true;
    }
    if (v->received + (size_t)r > opt.size)
        fail("wrong byte: conversation %u: received more than was sent", index);
    verify(buffer, (size_t)r, v->place + v->received, "conversation", index);
    v->received += (unsigned)r;
    if (v->received == opt.size) {
        shutdown(v->fd, SHUT_WR);
        v->state = ENDING;
    }
    return false;
}

static uint64_t slice(double seconds)
{
    struct epoll_event events[EVENTS];
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9), complete = 0;

    for (unsigned i = 0; i < opt.connections; i++)
        begin(&visits[i]);
    while (at_work > 0) {
        int n = epoll_wait(ep, events, EVENTS, 100);
        uint64_t now = now_ns();
        if (now > end + PATIENCE * SECOND)
            fail("%u conversations were not completed within %d s", at_work, PATIENCE);
        for (int k = 0; k < n; k++) {
            struct visit *v = &visits[events[k].data.u32];
            if (!step(v))
                continue;
            latency_add(now_ns() - v->began);
            close(v->fd);
            complete++;
            at_work--;
            if (now < end)
                begin(v);
        }
    }
    return complete;
}

void connect_mode(void)
{
    if (opt.size > sizeof buffer - PROXY_HEADER)
        fail("--size: at most %zu bytes in this mode", sizeof buffer - PROXY_HEADER);
    visits = allocate(opt.connections, sizeof *visits);
    ep = epoll_create1(EPOLL_CLOEXEC);
    first_source = 0x100001u + ((unsigned)getpid() % 0xd000u) * 256u; /* 127.16.0.0 and up: avoids ports of earlier runs */
    slice(opt.warm);
    slice_begin();
    slice_report(slice(opt.seconds), 0);
}
