/* The native loop of the fast path: forwards bytes in C until Python has to act. It is optional: without this library
 * forwarding.py and datagram_lane.py do the same in Python, and define the behaviour. native_loop.py uses it.
 *     cc -O3 -fPIC -shared -o libnative_loop.so native_loop.c
 * It needs no header of Python and keeps no state of its own: Python owns all memory that it uses. It never closes a
 * descriptor, never changes the events of one, and never blocks except in epoll_wait. Python decides about ends,
 * errors, short writes, and sources of datagrams. generate_libc.py declares the structures; ABI changes with them. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { ABI = 4, ROUND = 64, UNIT = 65536, CONTROL = 128, MOST_JOINED = 65000, SOURCES = 65536, PROBES = 8 };
/* LARGE: bytes of a read from which the next one uses splice. READS: full reads of a round, by all connections, but at
 * least one by each. WORTHWHILE: datagrams of a source from which a joined send costs less than single ones. */
enum { LARGE = 8192, READS = 16, WORTHWHILE = 2 };
enum { ECHO, UPPER };
enum { READY, END, LOST, LOST_IN_PIPE, SHORT, SHORT_IN_PIPE, DATAGRAMS, FAILED, FULL };

/* A source that the gate always admits, and the address that it has sent to. */
struct echod_source { uint32_t name[8], to[4]; };
/* A UDP socket: the slots of batch.py, the layout of IP_PKTINFO in them, and counts that Python has not added yet. */
struct echod_datagrams {
    struct mmsghdr *slots; struct msghdr *joined; struct echod_source *sources;
    unsigned int control_length, to_at, to_length, interface_at, joinable, alone; /* `alone`: turns with one datagram */
    uint64_t received, received_bytes, failed, failed_bytes;
};
/* A listener. `most` is the bytes of a read; `datagrams` is NULL for streams. */
struct echod_lane { int kind, pipe_read, pipe_write; unsigned int most; struct echod_datagrams *datagrams; };
/* A descriptor. `lane` is NULL if Python serves it; `unit` is the bytes of a read, or 0 if Python has not set it yet;
 * `large` is whether the last read was. */
struct echod_entry { uint64_t carried; struct echod_lane *lane; uint32_t unit, large; };
/* A descriptor for Python. `received` has the bytes; for READY the events, for DATAGRAMS the number in the slots. */
struct echod_told { int descriptor, what, received, sent; };
struct echod_loop { /* `size` is the number of entries, `counted` whether a socket has counts for Python */
    int epoll; unsigned int size, counted; struct echod_entry *entries;
    struct echod_told told[ROUND]; char buffer[UNIT];
};

int echod_abi(void) { return ABI; }

static void upper(char *data, size_t size) {
    for (size_t i = 0; i < size; i++) data[i] -= (unsigned char)(data[i] - 'a') < 26 ? 'a' - 'A' : 0;
}

/* Forwards one read of a connection, and up to `reads` while they are full. Returns 0 if everything was sent; otherwise
 * fills `told`, for the last read, and returns 1. */
static int forward(struct echod_loop *loop, struct echod_entry *entry, struct echod_told *told, int reads) {
    struct echod_lane *lane = entry->lane;
    int descriptor = told->descriptor, piped, most = lane->most;
    if (entry->unit && entry->unit < lane->most) most = entry->unit;
    do {
        ssize_t received = -1, sent;
        told->received = 0;
        if ((piped = entry->large && lane->kind == ECHO)
            && (received = splice(descriptor, NULL, lane->pipe_write, NULL, most, SPLICE_F_NONBLOCK)) < 0
            && errno != EAGAIN && errno != EINTR)
            return told->what = LOST;
        if (received <= 0) { /* also at the end of input, and before urgent data: only recv can distinguish them */
            piped = 0;
            received = recv(descriptor, loop->buffer, most < UNIT ? most : UNIT, MSG_DONTWAIT);
            if (received <= 0)
                return !received ? (told->what = END) : errno == EAGAIN || errno == EINTR ? 0 : (told->what = LOST);
            if (lane->kind == UPPER) upper(loop->buffer, received);
        }
        entry->carried += received;
        entry->large = received >= LARGE;
        sent = piped ? splice(lane->pipe_read, NULL, descriptor, NULL, received, SPLICE_F_NONBLOCK)
                     : send(descriptor, loop->buffer, received, MSG_DONTWAIT | MSG_NOSIGNAL);
        told->received = received;
        told->sent = sent > 0 ? sent : 0;
        if (sent != received) return told->what = (sent >= 0 || errno == EAGAIN || errno == EINTR ? SHORT : LOST) + piped;
    } while (entry->unit && told->received == most && --reads > 0);
    return entry->unit || told->received < most ? 0 : (told->what = FULL);
}

/* The source of a slot, or NULL. With `add` it becomes known. */
static struct echod_source *find(struct echod_datagrams *lane, int slot, int add) {
    struct echod_source key = {0}, *source;
    memcpy(key.name, lane->slots[slot].msg_hdr.msg_name, sizeof key.name);
    memcpy(key.to, (char *)lane->slots[slot].msg_hdr.msg_control + lane->to_at, lane->to_length);
    uint32_t hash = key.name[0] ^ key.name[1] ^ key.name[2] ^ key.name[3] ^ key.name[4] ^ key.name[5];
    for (int i = 0; i < PROBES; i++) {
        source = &lane->sources[((hash * 2654435761u >> 16) + i) % SOURCES];
        if (add && (!source->name[0] || i == PROBES - 1)) *source = key;
        if (!memcmp(source, &key, sizeof key)) return source;
    }
    return NULL;
}

void echod_remember(struct echod_datagrams *lane, int count) { while (count--) find(lane, count, 1); }

/* Sends the slots before `behind`; counts those that the kernel does not accept. */
static void reply(struct echod_datagrams *lane, int descriptor, int slot, int behind) {
    for (int sent; slot < behind; slot += sent)
        if ((sent = sendmmsg(descriptor, lane->slots + slot, behind - slot, MSG_DONTWAIT)) <= 0) {
            lane->failed += sent = 1;
            lane->failed_bytes += lane->slots[slot].msg_hdr.msg_iov->iov_len;
        }
}

/* Sends the datagrams of the source of slot `first`, of `size` bytes each, in one call, which the kernel splits
 * (UDP_SEGMENT, udp(7)). Removes them from `sources`. Python has prepared everything of `joined` that is the same. */
static void join(struct echod_datagrams *lane, int descriptor, struct echod_source **sources, int first, int count) {
    uint16_t size = lane->slots[first].msg_len, slots[ROUND] = {0}, sent = 0;
    char *control = lane->joined->msg_control;
    struct echod_source *source = sources[first];
    memcpy(control + sizeof(struct cmsghdr), &size, sizeof size);
    memcpy(control + CMSG_SPACE(2), lane->slots[first].msg_hdr.msg_control, lane->control_length);
    lane->joined->msg_name = lane->slots[first].msg_hdr.msg_name;
    lane->joined->msg_iovlen = 0;
    for (int slot = first; slot < count && (lane->joined->msg_iovlen + 1) * size <= MOST_JOINED; slot++)
        if (sources[slot] == source) {
            sources[slot] = NULL;
            slots[lane->joined->msg_iovlen] = slot;
            lane->joined->msg_iov[lane->joined->msg_iovlen++] = *lane->slots[slot].msg_hdr.msg_iov;
        }
    if (sendmsg(descriptor, lane->joined, MSG_DONTWAIT) > 0) return;
    /* These errors mean that the link takes no datagram of that size, or that the kernel has no such send. */
    if (errno == EINVAL || errno == EMSGSIZE || errno == EIO || errno == EOPNOTSUPP) lane->joinable = size - 1;
    for (; sent < lane->joined->msg_iovlen; sent++) reply(lane, descriptor, slots[sent], slots[sent] + 1);
}

/* Answers the waiting datagrams. Returns 0 if all were admitted; otherwise Python answers those in the slots. */
static int answer(struct echod_loop *loop, struct echod_entry *entry, struct echod_told *told) {
    struct echod_datagrams *udp = entry->lane->datagrams;
    struct echod_source *sources[ROUND];
    struct mmsghdr *slots = udp->slots;
    int fd = told->descriptor, alike = 1, distinct = 0, single = udp->alone % 8; /* after one datagram, one is expected */
    int count = single ? recvmsg(fd, &slots->msg_hdr, MSG_DONTWAIT) : recvmmsg(fd, slots, ROUND, MSG_DONTWAIT, NULL);
    if (count < 0) return errno == EAGAIN || errno == EINTR ? 0 : (told->what = FAILED);
    unsigned int size = single ? slots->msg_len = count : slots->msg_len;
    told->received = count = single ? 1 : count;
    udp->alone = count == 1 ? udp->alone + 1 : 0;
    for (int i = 0, j; i < count; i++) {
        if (slots[i].msg_hdr.msg_controllen != udp->control_length || !(sources[i] = find(udp, i, 0)))
            return told->what = DATAGRAMS;
        for (j = 0; alike && sources[j] != sources[i]; j++) {}
        distinct += j == i;
        alike &= slots[i].msg_len == size && distinct * WORTHWHILE <= count;
    }
    for (int i = 0; i < count; i++) {
        struct msghdr *header = &slots[i].msg_hdr;
        udp->received_bytes += header->msg_iov->iov_len = slots[i].msg_len;
        if (entry->lane->kind == UPPER) upper(header->msg_iov->iov_base, header->msg_iov->iov_len);
        if (udp->control_length) /* the reply is sent by the interface of the route */
            memset((char *)header->msg_control + udp->interface_at, 0, sizeof(int));
    }
    udp->received += count;
    loop->counted = 1;
    if (alike && size && size <= udp->joinable) {
        for (int i = 0; i < count; i++) if (sources[i]) join(udp, fd, sources, i, count);
    } else
        reply(udp, fd, 0, count);
    for (; count--; slots[count].msg_hdr.msg_controllen = CONTROL) /* ready to receive again */
        slots[count].msg_hdr.msg_iov->iov_len = UNIT;
    return 0;
}

/* Serves the descriptors of the loop for at most `rounds` rounds, and until Python has to act. Each round waits for at
 * most `timeout` ms, -1 without limit. Returns the number of entries of `told`, or a negative error of epoll_wait. */
int echod_serve(struct echod_loop *loop, int timeout, int rounds) {
    struct epoll_event events[ROUND];
    int count = 0;
    while (rounds-- > 0 && !count) {
        int ready = epoll_wait(loop->epoll, events, ROUND, timeout), stop = 0;
        if (ready <= 0) return ready ? -errno : 0;
        for (int i = 0; i < ready; i++) {
            struct echod_told *told = &loop->told[count];
            unsigned int descriptor = events[i].data.fd;
            struct echod_entry *entry = descriptor < loop->size ? &loop->entries[descriptor] : NULL;
            *told = (struct echod_told){descriptor, READY, 0, 0};
            /* Bytes left in the buffer or the pipe belong to a connection: Python serves the rest of the round. */
            if (stop || !entry || !entry->lane)
                told->received = events[i].events;
            else if (!(entry->lane->datagrams ? answer(loop, entry, told) : forward(loop, entry, told, READS / ready)))
                continue;
            stop |= told->what == SHORT || told->what == SHORT_IN_PIPE || told->what == LOST_IN_PIPE;
            count++;
        }
    }
    return count;
}
