/* Datagrams: `depth` of them in flight in total, sent in turn over `flows` sockets.
 *
 * A datagram is its number (64 bits) followed by the pattern from that number on. So a lost, a duplicate, a late and a
 * changed datagram can be told apart. A datagram without a reply after 250 ms is lost: it is counted, and another is
 * sent in its place.
 *
 * A flow is a source address and a port. Above MOST_SOCKETS flows, each socket has several source addresses, which it
 * gives with each datagram (IP_PKTINFO), so that the limit of open files does not limit the flows.
 */
#include "load.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum { A_SOURCE = 500 }; /* flows of one source address: an address has 28,000 ports */
enum { MOST_SOCKETS = 10000, SPARE = 100 }; /* SPARE: other descriptors */
enum { EVENTS = 256, BATCH = 64, SLOTS = 1 << 16, HEADER = 8, GSO_OCTETS = 65000, GRO_BUFFER = 1 << 17 };
static const uint64_t LOST_AFTER = 250000000u;

struct slot {
    uint64_t stamp;
    unsigned flow;
    enum { FREE, OPEN, LOST } state;
};

static int *sockets;
static unsigned socket_count; /* flow i uses socket i modulo socket_count */
static struct sockaddr_in to;
static int ep;
static struct slot slots[SLOTS]; /* by number modulo SLOTS */
static uint64_t next, oldest;    /* numbers: the next to send, and the first that may still be open */
static unsigned in_flight, turn; /* turn: the flow that sends next */
static uint64_t lost, done;
static size_t stride;
static unsigned char *outgoing, *incoming;

static void compose(unsigned char *into, uint64_t number)
{
    memcpy(into, &number, HEADER);
    memcpy(into + HEADER, pattern + number % PERIOD, opt.size - HEADER);
}

static void note_sent(unsigned count, uint64_t now)
{
    for (; count > 0; count--, next++, in_flight++)
        slots[next % SLOTS] = (struct slot){.stamp = now, .flow = turn, .state = OPEN};
}

static in_addr_t source(unsigned number)
{
    return htonl((INADDR_LOOPBACK & 0xff000000u) | (0x030001u + number));
}

/* Sends one datagram of the current flow from a socket that several flows share. */
static ssize_t send_shared(int fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(struct in_pktinfo))];
        struct cmsghdr align;
    } control;
    struct in_pktinfo info = {.ipi_spec_dst.s_addr = source(turn / socket_count)};
    struct iovec part = {.iov_base = outgoing, .iov_len = opt.size};
    struct msghdr whole = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &part, .msg_iovlen = 1,
                           .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&whole);

    c->cmsg_level = IPPROTO_IP;
    c->cmsg_type = IP_PKTINFO;
    c->cmsg_len = CMSG_LEN(sizeof info);
    memcpy(CMSG_DATA(c), &info, sizeof info);
    return sendmsg(fd, &whole, 0);
}

/* Sends up to `count` datagrams from the current flow; returns how many the kernel accepted. */
static unsigned send_batch(unsigned count)
{
    int fd = sockets[turn % socket_count], sent;
    struct iovec parts[BATCH];
    struct mmsghdr messages[BATCH];
    union {
        char bytes[CMSG_SPACE(sizeof(uint16_t))];
        struct cmsghdr align;
    } control;

    if (opt.gso && count > GSO_OCTETS / opt.size)
        count = GSO_OCTETS / opt.size;
    for (unsigned i = 0; i < count; i++) {
        parts[i] = (struct iovec){.iov_base = outgoing + i * opt.size, .iov_len = opt.size};
        compose(parts[i].iov_base, next + i);
    }
    if (count == 1) {
        sent = (socket_count < opt.flows ? send_shared(fd) : send(fd, outgoing, opt.size, 0)) < 0 ? -1 : 1;
    } else if (opt.gso) {
        struct msghdr whole = {.msg_iov = parts, .msg_iovlen = 1, .msg_control = control.bytes,
                               .msg_controllen = sizeof control.bytes};
        struct cmsghdr *c = CMSG_FIRSTHDR(&whole);
        uint16_t segment = (uint16_t)opt.size;
        parts[0].iov_len = (size_t)count * opt.size;
        c->cmsg_level = IPPROTO_UDP;
        c->cmsg_type = UDP_SEGMENT;
        c->cmsg_len = CMSG_LEN(sizeof segment);
        memcpy(CMSG_DATA(c), &segment, sizeof segment);
        sent = sendmsg(fd, &whole, 0) < 0 ? -1 : (int)count;
    } else {
        for (unsigned i = 0; i < count; i++)
            messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
        sent = sendmmsg(fd, messages, count, 0);
    }
    if (sent < 0 && errno != EAGAIN && errno != ENOBUFS)
        fail("%s: %s", opt.gso ? "send with UDP_SEGMENT" : "send", strerror(errno));
    return sent < 0 ? 0 : (unsigned)sent;
}

static void top_up(void)
{
    while (in_flight < opt.depth) {
        unsigned room = opt.depth - in_flight, count = opt.flows > 1 ? 1 : room < BATCH ? room : BATCH;
        uint64_t now = now_ns();
        count = send_batch(count);
        if (count == 0)
            break;
        note_sent(count, now);
        turn = (turn + 1) % opt.flows;
    }
}

static void take(const unsigned char *datagram, size_t length, unsigned number_of_socket, uint64_t now)
{
    uint64_t number;

    if (length != opt.size)
        fail("wrong byte: received a datagram of %zu bytes, expected %u", length, opt.size);
    memcpy(&number, datagram, HEADER);
    if (number >= next || number + SLOTS < next)
        fail("wrong byte: received datagram number %llu, which was never sent", (unsigned long long)number);
    struct slot *s = &slots[number % SLOTS];
    if (s->flow % socket_count != number_of_socket)
        fail("wrong byte: datagram %llu of flow %u arrived at socket %u", (unsigned long long)number, s->flow,
             number_of_socket);
    if (s->state == FREE)
        fail("wrong byte: datagram %llu arrived twice", (unsigned long long)number);
    verify(datagram + HEADER, length - HEADER, number, "datagram of flow", s->flow);
    if (s->state == OPEN) { /* a LOST one is only late; another was sent in its place */
        latency_add(now - s->stamp);
        in_flight--;
        done++;
    }
    s->state = FREE;
}

static void pull(unsigned flow)
{
    struct iovec parts[BATCH];
    struct mmsghdr messages[BATCH];

    for (unsigned i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){.iov_base = incoming + i * stride, .iov_len = stride};
        messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
    }
    int n = recvmmsg(sockets[flow], messages, BATCH, MSG_DONTWAIT, NULL);
    if (n < 0 && errno != EAGAIN)
        fail("recv: %s", strerror(errno));
    uint64_t now = now_ns();
    for (int i = 0; i < n; i++)
        take(parts[i].iov_base, messages[i].msg_len, flow, now);
}

static void pull_coalesced(unsigned flow)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec part = {.iov_base = incoming, .iov_len = GRO_BUFFER};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes,
                       .msg_controllen = sizeof control.bytes};
    ssize_t n = recvmsg(sockets[flow], &m, MSG_DONTWAIT);

    if (n < 0 && errno != EAGAIN)
        fail("recv: %s", strerror(errno));
    int segment = (int)n;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c != NULL; c = CMSG_NXTHDR(&m, c))
        if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO)
            memcpy(&segment, CMSG_DATA(c), sizeof segment);
    uint64_t now = now_ns();
    for (ssize_t at = 0; at < n; at += segment)
        take(incoming + at, (size_t)(n - at < segment ? n - at : segment), flow, now);
}

static void give_up(uint64_t now)
{
    for (; oldest < next; oldest++) {
        struct slot *s = &slots[oldest % SLOTS];
        if (s->state != OPEN)
            continue;
        if (now < s->stamp + LOST_AFTER) /* no subtraction: a stamp made meanwhile is later than `now` */
            break;
        s->state = LOST;
        in_flight--;
        lost++;
    }
}

static void slice(double seconds)
{
    struct epoll_event events[EVENTS];
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);

    top_up();
    while (in_flight > 0) {
        int n = epoll_wait(ep, events, EVENTS, 20);
        uint64_t now = now_ns();
        bool over = now >= end;
        for (int k = 0; k < n; k++) {
            if (opt.gso)
                pull_coalesced(events[k].data.u32);
            else
                pull(events[k].data.u32);
            if (!over)
                top_up();
        }
        give_up(now);
        if (in_flight == 0 && !over)
            top_up();
    }
}

static void roomy(int fd, int forced, int asked)
{
    int bytes = 4 << 20;

    if (setsockopt(fd, SOL_SOCKET, forced, &bytes, sizeof bytes) < 0)
        setsockopt(fd, SOL_SOCKET, asked, &bytes, sizeof bytes);
}

void datagram_mode(void)
{
    struct rlimit files;
    unsigned length;
    int one = 1;

    if (opt.size < HEADER || opt.size > 65507)
        fail("--size: 8 to 65507 bytes for datagrams");
    if (opt.depth > SLOTS / 2)
        fail("--depth: at most %d datagrams in flight", SLOTS / 2);
    stride = opt.size + 1; /* one byte more than expected, to detect a longer reply */
    outgoing = allocate(BATCH, opt.size);
    incoming = allocate(1, stride * BATCH > GRO_BUFFER ? stride * BATCH : GRO_BUFFER);
    socket_count = opt.flows < MOST_SOCKETS ? opt.flows : MOST_SOCKETS;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && socket_count + SPARE > files.rlim_cur && files.rlim_cur > SPARE)
        socket_count = (unsigned)files.rlim_cur - SPARE;
    sockets = allocate(socket_count, sizeof *sockets);
    ep = epoll_create1(EPOLL_CLOEXEC);
    destination(&to, &length);
    bool shared = socket_count < opt.flows, given = shared || opt.flows > A_SOURCE;
    for (unsigned i = 0; i < socket_count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        int fd = sockets[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = shared ? INADDR_ANY : source(i / A_SOURCE)};
        if (fd >= 0 && given && bind(fd, (struct sockaddr *)&from, sizeof from) < 0)
            fail("bind to a source address: %s", strerror(errno));
        if (fd < 0 || (!shared && connect(fd, (struct sockaddr *)&to, length) < 0) || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event) < 0)
            fail("UDP socket: %s", strerror(errno));
        roomy(fd, SO_RCVBUFFORCE, SO_RCVBUF);
        roomy(fd, SO_SNDBUFFORCE, SO_SNDBUF);
        if (opt.gso && setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof one) < 0)
            fail("UDP_GRO: %s (needs Linux 5.0)", strerror(errno));
    }
    slice(opt.warm);
    slice_begin();
    lost = done = 0;
    slice(opt.seconds);
    slice_report(done, lost);
}
